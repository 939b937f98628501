from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from edgeloop_agent.execute import execute, round_order
from edgeloop_protocol.types.run import FailureKind, Outcome, Source, Verdict


async def test_a_whole_job_measures_every_trial_in_pairs_of_rounds(bench: Any, workshop: Any, quick: Any) -> None:
    benchmark = replace(quick, measure_memory=True, measure_nodes=True, check_parity=True)
    artifacts = [workshop.mlp(seed=0, label="a"), workshop.mlp(seed=1, label="b")]
    runs = await execute(bench.context(*artifacts, benchmark=benchmark))
    assert [run.trial.label for run in runs] == ["a", "b"]
    for run in runs:
        assert (run.outcome, run.failure_reason) == (Outcome.SUCCESS, "")
        assert run.source is Source.MEASURED
        assert run.timing is not None
        assert run.timing.steady is not None
        blob = bench.blobs[run.timing.samples_digest]
        samples = struct.unpack(f"<{len(blob) // 8}q", blob)
        print(run.timing, run.memory, run.placement, run.parity, run.isolation, run.energy, sep="\n")
    assert run.timing.blocks[0].cold
