"""Answers of a probe from runs whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop.calibrate.probe_fit import fit, trial_name
from edgeloop.calibrate.probe_models import CHANNELS, STREAM_BYTES, ProbeModel, write_models
from edgeloop.domain.probe import ProbedFacts
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Block, FailureKind, Outcome, Run, Source, Timing
from edgeloop_protocol.types.trial import Benchmark, Trial

ROUNDS = 6
FACTS = Facts(
    device_id="d",
    name="d",
    hardware=Hardware(
        architecture="aarch64", isa_flags=("asimd", "asimddp"), logical_cores=2, memory_total_bytes=1 << 30
    ),
    operating_system=OperatingSystem(name="n", kernel="k", python_version="3.11"),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProbeModel, ...]:
    return write_models(tmp_path_factory.mktemp("models"))


def run_of(name: str, threads: int, seconds: float, spread: float, seed: int) -> Run:
    rng = random.Random(f"{name}/{threads}/{seed}")
    absent = Estimate.absent("not of interest")
    blocks = tuple(
        Block(
            round=r,
            position=0,
            sample_offset=0,
            sample_count=9,
            p50_s=seconds * rng.lognormvariate(0, spread),
        )
        for r in range(ROUNDS)
    )
    timing = Timing(cold_load_s=absent, warm_load_s=absent, first_inference_s=absent, blocks=blocks)
    return Run(
        run_id=name,
        source=Source.MEASURED,
        device_id="d",
        device_name="d",
        boot_id="b",
        agent_version="0",
        job_id="j",
        request_id="r",
        lease_id="l",
        experiment_id="probe-1",
        trial=Trial(trial_id=trial_name(name, threads), label=name, artifact_digest="0" * 64),
        benchmark=Benchmark(rounds=ROUNDS),
        runtime_version="onnxruntime 1.31.1",
        started_wall_s=0.0,
        duration_s=1.0,
        outcome=Outcome.SUCCESS,
        timing=timing,
        facts=FACTS,
    )


def device(
    models: tuple[ProbeModel, ...],
    cost: Callable[[int], float],
    *,
    int8: dict[str, float] | None = None,
    spread: float = 0.004,
    seed: int = 0,
    **change: Any,
) -> ProbedFacts:
    """Probe a device whose convolutions cost ``cost(channels)`` relative to a perfect one."""
    gains = int8 or {"U8S8": 3.0, "S8S8": 2.0, "U8U8": 2.5}
    runs = []
    for model in models:
        seconds = model.macs * 1e-11 or 0.01
        if model.name.startswith("conv-") and model.name[5:].isdigit():
            seconds *= cost(int(model.name[5:]))
        seconds /= gains.get(model.name[5:], 1.0)
        runs.append(run_of(model.name, 1, seconds, spread, seed))
    runs.append(run_of("conv-64", 2, models[5].macs * 1e-11 / 1.8, spread, seed))
    runs.append(run_of("stream", 2, 0.01 / 1.2, spread, seed))
    return fit(models, runs, (1, 2), wall_time_s=1.0, duration_s=30.0, **change)


@pytest.mark.parametrize("block", [4, 8, 16])
def test_a_grid_of_channels_is_found(models: tuple[ProbeModel, ...], block: int) -> None:
    padded = device(models, lambda c: 1.0 if c % block == 0 else 1.2)
    assert padded.channel_block == block
    assert {p.channels for p in padded.channels} == set(CHANNELS)


def test_a_device_without_a_grid_has_the_block_one(models: tuple[ProbeModel, ...]) -> None:
    assert device(models, lambda c: 1.0).channel_block == 1


def test_noise_leaves_the_block_undecided(models: tuple[ProbeModel, ...]) -> None:
    noisy = device(models, lambda c: 1.0 if c % 8 == 0 else 1.06, spread=0.15)
    assert noisy.channel_block is None
    assert noisy.block_reason.startswith("undecided")


def test_intervals_hold_the_truth(models: tuple[ProbeModel, ...]) -> None:
    held = 0
    for seed in range(40):
        answers = device(models, lambda c: 1.0, spread=0.03, seed=seed)
        gain = answers.encodings[0].gain
        assert gain.low is not None
        assert gain.high is not None
        held += gain.low <= 3.0 <= gain.high
    assert held >= 34


def test_the_best_encoding_is_named_only_beyond_doubt(models: tuple[ProbeModel, ...]) -> None:
    assert device(models, lambda c: 1.0).best_encoding == "U8S8"
    tied = device(models, lambda c: 1.0, int8={"U8S8": 3.0, "S8S8": 3.0, "U8U8": 1.0}, spread=0.02)
    assert tied.best_encoding == ""
    assert "cannot be told apart" in tied.encoding_reason
    slow = device(models, lambda c: 1.0, int8={"U8S8": 0.8, "S8S8": 0.7, "U8U8": 0.6})
    assert slow.best_encoding == ""
    assert "no encoding is faster" in slow.encoding_reason


def test_threads_bandwidth_and_flags(models: tuple[ProbeModel, ...]) -> None:
    answers = device(models, lambda c: 1.0)
    (two,) = answers.threads
    assert two.compute.value == pytest.approx(1.8, rel=0.02)
    assert two.memory.value == pytest.approx(1.2, rel=0.02)
    assert answers.stream_bandwidth_bytes_per_s.value == pytest.approx(STREAM_BYTES / 0.01, rel=0.02)
    assert answers.int8_flags == ("asimddp",)


def test_what_did_not_run_is_absent_with_its_reason(models: tuple[ProbeModel, ...]) -> None:
    import dataclasses

    runs = [run_of(m.name, 1, m.macs * 1e-11 or 0.01, 0.004, 0) for m in models]
    failed = dataclasses.replace(
        next(r for r in runs if r.run_id == "conv-fp16"),
        outcome=Outcome.UNSUPPORTED,
        failure_kind=FailureKind.UNSUPPORTED_MODEL,
        failure_reason="no fp16 here.",
        timing=None,
    )
    kept = [failed if r.run_id == "conv-fp16" else r for r in runs if r.run_id != "stream"]
    answers = fit(models, kept, (1,), wall_time_s=1.0, duration_s=3.0)
    assert answers.fp16_gain.value is None
    assert "no fp16 here" in answers.fp16_gain.reason
    assert answers.stream_bandwidth_bytes_per_s.reason == "the stream was not measured"
    assert answers.threads == ()


def test_models_run_and_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    import numpy as np
    import onnxruntime

    first = write_models(tmp_path)
    before = {model.name: model.path.read_bytes() for model in first}
    assert {m.name: m.path.read_bytes() for m in write_models(tmp_path)} == before
    assert sum(len(data) for data in before.values()) < 4_000_000, "a slow link carries them too"
    stream = onnxruntime.InferenceSession(before["stream"], providers=["CPUExecutionProvider"])
    (answer,) = stream.run(None, {"x": np.array([2.0], np.float32)})
    assert math.isclose(float(answer), 10.0)
    for name in ("conv-63", "conv-U8S8", "conv-S8S8", "conv-U8U8", "conv-fp16"):
        session = onnxruntime.InferenceSession(before[name], providers=["CPUExecutionProvider"])
        spec = session.get_inputs()[0]
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        session.run(None, {spec.name: np.ones(spec.shape, kind.get(spec.type, np.int8))})
