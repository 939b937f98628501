"""Minutes of load on simulated boards, in accelerated time: heat, arrivals, scenarios, phases."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.execute import execute
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_profiles import Profile, load_profile
from edgeloop_protocol.types.artifact import Artifact, Kernel
from edgeloop_protocol.types.run import Outcome, Run
from edgeloop_protocol.types.trial import RuntimeSettings, Trial

from .test_job import make_artifact, make_context

MakeBoard = Callable[..., SimulatedBoard]


def hot(name: str, ambient_celsius: float) -> Profile:
    profile = load_profile(name)
    return dataclasses.replace(
        profile, thermal=dataclasses.replace(profile.thermal, ambient_celsius=ambient_celsius)
    )


async def measured(
    board: SimulatedBoard, tmp_path: Path, *kernels: tuple[Kernel, ...], threads: int = 4, **benchmark: Any
) -> tuple[Run, ...]:
    trials = tuple(
        Trial(
            trial_id=str(index),
            label=f"net {index}",
            artifact_digest=make_artifact(tmp_path / "artifacts", each, f"net {index}"),
            settings=RuntimeSettings(intra_op_threads=threads),
        )
        for index, each in enumerate(kernels)
    )
    context = make_context(board, tmp_path / "artifacts", trials, parity=False)
    changed = dataclasses.replace(
        context.spec.benchmark, measure_memory=False, measure_nodes=False, rounds=2, **benchmark
    )
    spec = dataclasses.replace(context.spec, benchmark=changed)
    return await execute(dataclasses.replace(context, spec=spec))


async def test_twenty_minutes_in_a_hot_place_slow_a_raspberry_pi_4_down(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    board = make_board(hot("raspberry_pi_4", 45.0))
    (run,) = await measured(board, tmp_path, artifact.kernels, measure_latency=False, sustained_s=1200.0)
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    sustained = run.sustained
    assert sustained is not None
    assert sustained.duration_s == pytest.approx(1200.0, abs=1.0)
    assert len(sustained.windows) == pytest.approx(120, abs=1)
    assert sustained.ratio.low is not None
    assert sustained.ratio.low > 1.1
    throttled = sustained.time_to_throttle_s
    assert throttled.value is not None
    assert throttled.low is not None
    assert 60.0 < throttled.low < throttled.value < 1200.0
    first, last = sustained.windows[0], sustained.windows[-1]
    assert (first.frequency_hz, first.throttle_event_count) == (1.8e9, 0)
    assert last.frequency_hz is not None
    assert last.frequency_hz < 1.8e9
    assert last.temperature_celsius is not None
    assert last.temperature_celsius > 76.0
    assert first.power_w is None, "a Raspberry Pi 4 has no power sensor"
    before = [w for w in sustained.windows if w.start_s + w.duration_s < throttled.value]
    assert all(not window.throttle_event_count for window in before)


async def test_a_cool_board_is_as_fast_at_the_end(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    (run,) = await measured(
        make_board("raspberry_pi_4"), tmp_path, artifact.kernels, measure_latency=False, sustained_s=600.0
    )
    assert run.sustained is not None
    assert run.sustained.ratio.value == pytest.approx(1.0, abs=0.02)
    assert run.sustained.time_to_throttle_s.reason == "no throttle event within 600 s"


async def test_a_board_with_a_power_sensor_says_what_each_window_took(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    (run,) = await measured(
        make_board("nuc11"), tmp_path, artifact.kernels, measure_latency=False, sustained_s=60.0
    )
    assert run.sustained is not None
    assert all(window.power_w and window.power_w > 1.0 for window in run.sustained.windows)


async def test_half_an_hour_of_a_microsecond_model_takes_no_memory(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    tiny = dataclasses.replace(
        artifact.kernels[0], macs=20_000, input_bytes=400, weight_bytes=300, output_bytes=400
    )

    async def run_for(seconds: float) -> tuple[Run, int]:
        tracemalloc.start()
        directory = tmp_path / f"{seconds}"
        (run,) = await measured(
            make_board("nuc11"),
            directory,
            (tiny,),
            threads=1,
            measure_latency=False,
            sustained_s=seconds,
            window_s=300.0,
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return run, peak

    _, short = await run_for(300.0)
    run, long = await run_for(1800.0)
    assert run.sustained is not None
    assert sum(window.sample_count for window in run.sustained.windows) > 20_000_000
    assert "an even part of the inferences" in run.sustained.thinning
    assert long < short + 6_000_000


async def test_turns_of_simulated_processes_pair_up(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    half = tuple(dataclasses.replace(kernel, macs=kernel.macs // 2) for kernel in artifact.kernels)
    whole, less = await measured(
        make_board("raspberry_pi_5"), tmp_path, artifact.kernels, half, interleave="batch"
    )
    for run in (whole, less):
        assert run.outcome is Outcome.SUCCESS, run.failure_reason
        assert run.timing is not None
        assert [block.round for block in run.timing.blocks] == [0, 1]
    assert whole.timing is not None
    assert less.timing is not None
    for slow, fast in zip(whole.timing.blocks, less.timing.blocks, strict=True):
        assert slow.p50_s is not None
        assert fast.p50_s is not None
        assert slow.p50_s > 1.2 * fast.p50_s


async def test_arrivals_and_scenarios_are_played_on_job_time(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    (run,) = await measured(
        make_board("raspberry_pi_5"),
        tmp_path,
        artifact.kernels,
        arrival="open_poisson",
        rate_hz=20.0,
        steady_s_max=60.0,
        scenario="server",
        latency_bound_s=1.0,
        scenario_s_min=60.0,
    )
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    arrivals, result = run.arrivals, run.scenario
    assert arrivals is not None
    assert arrivals.answered_count == 1200
    assert arrivals.achieved_rate_hz == pytest.approx(20.0, rel=0.15)
    assert arrivals.latency.p99.value is not None
    assert arrivals.service.p99.value is not None
    assert arrivals.latency.p99.value >= arrivals.service.p99.value
    assert result is not None
    assert (result.engine, result.valid, result.query_count) == ("edgeloop", False, 1200)


async def test_idling_and_pulses_are_phases_of_job_time(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    (run,) = await measured(
        make_board("raspberry_pi_5"), tmp_path, artifact.kernels, idle_s=30.0, load_pulse=True
    )
    seconds = {}
    for phase in run.phases:
        seconds.setdefault(phase.name, []).append((phase.end_ns - phase.start_ns) * 1e-9)
    assert seconds["idle_before"] == seconds["idle_after"] == [pytest.approx(30.0)]
    assert seconds["load_pulse"] == [pytest.approx(length, abs=0.1) for length in (1.0, 2.0, 1.0)]
    assert len(seconds["steady"]) == 2


async def test_idle_power_before_and_after_is_read_by_the_meter(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    profile = load_profile("nuc11")
    (run,) = await measured(make_board(profile), tmp_path, artifact.kernels, idle_s=30.0)
    assert run.energy is not None
    assert run.energy.idle_after_w is not None
    for idle in (run.energy.idle_power_w, run.energy.idle_after_w):
        assert idle.value is not None
        assert run.energy.mean_power_w.value is not None
        assert 0.0 < idle.value < run.energy.mean_power_w.value
