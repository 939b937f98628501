"""Runs with raw samples, made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Block, FailureKind, Outcome, Run, Source, Timing
from edgeloop_protocol.types.trial import Benchmark, Trial
from numpy.typing import NDArray


def made_run(
    label: str, processes: Sequence[NDArray[np.float64]], *, disputed: bool = False, **rest: Any
) -> tuple[Run, bytes]:
    """Return a run whose processes took these seconds, and the blob of its samples."""
    values = [np.round(p * 1e9).astype("<i8") for p in processes]
    blob = np.concatenate(values).astype("<i8").tobytes()
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])])
    blocks = tuple(
        Block(
            round=index,
            position=0,
            sample_offset=int(offsets[index]),
            sample_count=len(v),
            p50_s=float(np.median(v)) * 1e-9,
        )
        for index, v in enumerate(values)
    )
    none = Estimate.absent("not looked at")
    timing = Timing(
        cold_load_s=none,
        warm_load_s=none,
        first_inference_s=none,
        steady=distribution(np.concatenate(processes).tolist(), "s"),
        blocks=blocks,
        samples_digest=hashlib.sha256(blob).hexdigest(),
        timing_disputed=disputed,
    )
    run = Run(
        run_id=f"run-{label}",
        source=Source.MEASURED,
        device_id="dev",
        device_name="pi",
        boot_id="b",
        agent_version="0",
        job_id="j",
        request_id="r",
        lease_id="l",
        trial=Trial(trial_id=label, label=label, artifact_digest="0" * 64),
        benchmark=Benchmark(),
        started_wall_s=1.0,
        duration_s=1.0,
        outcome=Outcome.SUCCESS,
        failure_kind=FailureKind.NONE,
        timing=timing,
        **rest,
    )
    return run, blob
