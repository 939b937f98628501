"""Phases, arrivals, sustained runs and scenarios with real runner processes on this machine."""

from __future__ import annotations

import asyncio
import importlib.util
import struct
from dataclasses import replace
from typing import Any

import pytest
from edgeloop_agent.execute import execute
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.idle import pause, pulse_load
from edgeloop_agent.trial_record import TrialRecord, read_artifact
from edgeloop_protocol.raw_samples import raw_samples
from edgeloop_protocol.types.run import Outcome
from edgeloop_protocol.types.trial import RuntimeSettings

HAS_LOADGEN = importlib.util.find_spec("mlperf_loadgen") is not None


async def test_phases_cover_the_job_in_order(bench: Any, workshop: Any, quick: Any) -> None:
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(), benchmark=replace(quick, idle_s=0.2)))
    each = ["load", "first_inference", "warm_up", "steady"]
    assert [(phase.name, phase.round) for phase in run.phases] == [
        ("idle_before", -1),
        *((name, index) for index in range(2) for name in each),
        ("idle_after", -1),
    ]
    for earlier, later in zip(run.phases, run.phases[1:], strict=False):
        assert earlier.start_ns < earlier.end_ns <= later.start_ns
    idle = run.phases[0]
    assert 0.2 <= (idle.end_ns - idle.start_ns) * 1e-9 < 2.0
    assert run.conditions_before.monotonic_ns < idle.start_ns < run.conditions_after.monotonic_ns


async def test_pulses_are_marked_where_the_load_is(bench: Any, workshop: Any, quick: Any) -> None:
    context = bench.context(workshop.mlp(), benchmark=quick)
    record = TrialRecord(trial=context.spec.trials[0])
    read_artifact(record, context.directories)
    phases: list[Any] = []
    await pulse_load(context, record, phases, pulses=((0.2, 0.1), (0.4, 0.0)))
    assert [phase.name for phase in phases] == ["load_pulse"] * 2
    seconds = [(phase.end_ns - phase.start_ns) * 1e-9 for phase in phases]
    assert seconds[0] >= 0.2
    assert seconds[1] >= 0.4
    assert phases[1].start_ns - phases[0].end_ns >= 0.1e9


async def test_a_pause_ends_when_the_job_is_to_stop(bench: Any, workshop: Any, quick: Any) -> None:
    context = bench.context(workshop.mlp(), benchmark=quick)
    pausing = asyncio.create_task(pause(context, 60.0))
    await asyncio.sleep(0.05)
    context.stop.set(Outcome.CANCELLED)
    with pytest.raises(RunnerFailure):
        await asyncio.wait_for(pausing, 5.0)


@pytest.mark.parametrize("process", ["paced", "open_uniform", "open_poisson"])
async def test_scheduled_requests_are_all_accounted_for(
    bench: Any, workshop: Any, quick: Any, process: str
) -> None:
    benchmark = replace(quick, arrival=process, rate_hz=400.0, steady_s_max=1.0)
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(), benchmark=benchmark))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    arrivals, steady = run.arrivals, run.timing.steady
    assert arrivals.answered_count + arrivals.dropped_count == 400
    assert arrivals.latency.sample_count == steady.sample_count == arrivals.answered_count
    assert arrivals.service == steady
    # Behind its schedule on a busy machine, never ahead of it.
    assert 0.0 < arrivals.achieved_rate_hz < 440.0
    assert 0.0 < arrivals.duty_cycle < 1.0
    latencies, services = (
        struct.unpack(f"<{len(blob) // 8}q", blob)
        for blob in (bench.blobs[arrivals.samples_digest], bench.blobs[run.timing.samples_digest])
    )
    assert all(latency >= service for latency, service in zip(latencies, services, strict=True))
    if process == "paced":
        assert latencies == services


async def test_an_overloaded_queue_drops_and_its_latency_is_that_of_the_queue(
    bench: Any, workshop: Any, quick: Any
) -> None:
    benchmark = replace(
        quick, arrival="open_uniform", rate_hz=20_000.0, queue_count_max=8, rounds=1, steady_s_max=0.3
    )
    run: Any
    (run,) = await execute(
        bench.context(workshop.mlp(width=512), benchmark=replace(benchmark, batch_size=32))
    )
    arrivals = run.arrivals
    assert arrivals.dropped_count > 0
    assert arrivals.queue_count_peak == 8
    assert arrivals.latency.p50.value > 2 * arrivals.service.p50.value
    assert arrivals.achieved_rate_hz < 20_000.0


async def test_a_microsecond_model_keeps_up_with_a_fast_schedule(
    bench: Any, workshop: Any, quick: Any
) -> None:
    benchmark = replace(quick, arrival="open_uniform", rate_hz=4_000.0, rounds=1, steady_s_max=0.5)
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(), benchmark=benchmark))
    # On a quiet machine all are on their way within microseconds; on a busy one the best are.
    best = run.arrivals.latency.minimum - run.arrivals.service.minimum
    assert best < 125e-6
    assert run.arrivals.achieved_rate_hz > 1_000.0


async def test_state_goes_from_request_to_request(bench: Any, workshop: Any, quick: Any) -> None:
    benchmark = replace(quick, arrival="open_poisson", rate_hz=500.0)
    run: Any
    (run,) = await execute(bench.context(workshop.counter(), benchmark=benchmark))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    assert run.arrivals.answered_count > 0


async def test_a_sustained_run_has_its_windows(bench: Any, workshop: Any, quick: Any) -> None:
    benchmark = replace(quick, measure_latency=False, sustained_s=1.2, window_s=0.3)
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(), benchmark=benchmark))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    sustained = run.sustained
    assert run.timing is None
    assert 1.2 <= sustained.duration_s < 10.0
    assert 1 <= len(sustained.windows) <= 4
    assert sum(window.duration_s for window in sustained.windows) == pytest.approx(
        sustained.duration_s, rel=0.2
    )
    for window in sustained.windows:
        assert 0.0 < window.p50_s <= window.p95_s <= window.maximum_s
        assert window.sample_count > 130
    assert sustained.ratio.low <= sustained.ratio.value <= sustained.ratio.high
    assert sustained.time_to_throttle_s.value is None
    kept = len(bench.blobs[sustained.samples_digest]) // 8
    total = sum(window.sample_count for window in sustained.windows)
    assert f"{kept} of {total}" in sustained.thinning
    assert [phase.name for phase in run.phases] == ["load", "first_inference", "warm_up", "sustained"]


async def test_a_cancelled_sustained_run_keeps_the_windows_it_has(
    bench: Any, workshop: Any, quick: Any
) -> None:
    benchmark = replace(quick, measure_latency=False, sustained_s=600.0, window_s=0.2)
    context = bench.context(workshop.mlp(), benchmark=benchmark, runner_deadline_s=30.0)
    job = asyncio.create_task(execute(context))
    await bench.phase("sustained")
    context.stop.set(Outcome.CANCELLED)
    run: Any
    (run,) = await asyncio.wait_for(job, 10.0)
    assert run.outcome is Outcome.CANCELLED
    assert len(run.sustained.windows) >= 1
    assert run.sustained.first_minute_p50_s.value > 0.0


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "server", "offline"])
async def test_every_scenario_is_played(bench: Any, workshop: Any, quick: Any, scenario: str) -> None:
    rates = {"rate_hz": 2000.0, "latency_bound_s": 1.0} if scenario == "server" else {}
    benchmark = replace(
        quick, measure_latency=False, scenario=scenario, scenario_s_min=0.5, batch_size=2, **rates
    )
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(width=512), benchmark=benchmark))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    result = run.scenario
    assert result.engine.startswith("mlcommons-loadgen 6" if HAS_LOADGEN else "edgeloop")
    assert not result.valid
    assert result.reason.startswith("unofficial")
    assert result.sample_count == result.query_count * (8 if scenario == "multi_stream" else 1) or (
        scenario == "offline" and result.query_count == 1
    )
    assert result.throughput_hz == pytest.approx(result.sample_count / result.duration_s)
    if scenario == "offline":
        assert (result.latency, result.early_stopping_s) == (None, None)
    else:
        assert result.query_count >= 64
        assert result.early_stopping_s.value >= result.latency.p50.value


async def test_a_model_that_fails_within_a_scenario_is_a_recorded_outcome(
    bench: Any, workshop: Any, quick: Any, make_model: Any
) -> None:
    from onnx import TensorProto, helper

    three = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    data = make_model([helper.make_node("Identity", ["x"], ["y"])], [three], [three])
    benchmark = replace(quick, measure_latency=False, scenario="offline", scenario_s_min=0.2)
    run: Any
    (run,) = await execute(bench.context(workshop.hostile(data), benchmark=benchmark))
    assert run.outcome is Outcome.USER_ERROR
    assert run.scenario is None


async def test_a_trial_may_ask_for_more_warm_up(bench: Any, workshop: Any, quick: Any) -> None:
    context = bench.context(workshop.mlp(), benchmark=replace(quick, warmup_s_max=5.0))
    trial = replace(context.spec.trials[0], settings=RuntimeSettings(warmup_count_min=20_000))
    run: Any
    (run,) = await execute(replace(context, spec=replace(context.spec, trials=(trial,))))
    assert all(block.warmup_count >= 20_000 for block in run.timing.blocks)


async def test_a_long_benchmark_keeps_a_bounded_part_of_its_samples(
    bench: Any, workshop: Any, quick: Any
) -> None:
    # 100 rounds keep a thousand samples each, of which one is run.
    benchmark = replace(quick, rounds=100, steady_s_max=20.0, sample_count_min=10_000_000)
    context = bench.context(workshop.mlp(), benchmark=benchmark)
    job = asyncio.create_task(execute(context))
    await bench.phase("steady")
    await asyncio.sleep(0.4)
    context.stop.set(Outcome.CANCELLED)
    run: Any
    (run,) = await job
    block = run.timing.blocks[0]
    assert block.sample_count <= 1000 < block.inference_count
    kept = sum(each.sample_count for each in run.timing.blocks)
    samples = struct.unpack(f"<{kept}q", bench.blobs[run.timing.samples_digest])
    assert run.timing.steady.sample_count == kept
    assert run.timing.steady.maximum >= max(samples) * 1e-9


async def test_every_blob_of_raw_samples_is_named_with_its_size(
    bench: Any, workshop: Any, quick: Any
) -> None:
    benchmark = replace(quick, arrival="open_poisson", rate_hz=300.0, sustained_s=0.3, window_s=0.2)
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(), benchmark=benchmark))
    named = raw_samples(run)
    assert len(named) == 3
    assert named == {digest: len(bench.blobs[digest]) for digest in named}
    context = bench.context(
        workshop.mlp(), benchmark=replace(benchmark, measure_latency=False, sustained_s=0.0)
    )
    (bare,) = await execute(context)
    assert raw_samples(bare) == {}
