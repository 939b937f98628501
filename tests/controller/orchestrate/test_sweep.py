"""Sweeps: what follows from their points, and that they run on a board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.sweep import SweepPlan
from edgeloop.orchestrate.single import bench
from edgeloop.orchestrate.sweep import batch_sweep, point_benchmarks, rate_sweep, sweep_expected_s
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import FailureKind, Outcome, Run
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings
from onnx import TensorProto, helper, numpy_helper

from tests.controller.report.factory_load import PLAN, point_runs
from tests.controller.report.factory_runs import KINDS, raw_samples


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    return point_runs()


@pytest.fixture(scope="module")
def samples(runs: tuple[Run, ...]) -> dict[str, bytes]:
    blob = raw_samples("this-machine", KINDS[0]).tobytes()
    return {run.timing.samples_digest: blob for run in runs if run.timing}


def test_the_best_batch_has_the_highest_throughput(runs: tuple[Run, ...], samples: dict[str, bytes]) -> None:
    sweep = batch_sweep("original", PLAN, runs, samples)
    assert [point.batch_size for point in sweep.points] == [1, 2, 4, 8]
    assert sweep.best_batch_size == 4
    four = sweep.points[2]
    assert four.latency_s.value == pytest.approx(4 * (four.item_latency_s.value or 0.0))
    assert four.throughput_hz.low is not None
    assert four.run_id == "batch-4"


def test_what_is_not_told_apart_is_said(runs: tuple[Run, ...]) -> None:
    blind = batch_sweep("original", PLAN, runs, {})
    assert "not told apart from batch 1, 2, 8" in blind.reason, "there are no intervals without samples"


def test_a_batch_that_failed_keeps_its_reason(runs: tuple[Run, ...], samples: dict[str, bytes]) -> None:
    failed = replace(
        runs[3],
        outcome=Outcome.USER_ERROR,
        failure_kind=FailureKind.INFERENCE_FAILED,
        failure_reason="the batch of the model is fixed at 1.",
        timing=None,
    )
    sweep = batch_sweep("original", PLAN, (*runs[:3], failed), samples)
    assert sweep.points[3].throughput_hz.reason == "the batch of the model is fixed at 1."
    assert sweep.best_batch_size == 4
    assert sweep.reason.endswith("; of batch 8 it is not known.")
    nothing = batch_sweep("original", PLAN, (), samples)
    assert (nothing.best_batch_size, nothing.reason) == (None, "it was not measured")


def test_the_knee_is_the_last_rate_carried(runs: tuple[Run, ...]) -> None:
    sweep = rate_sweep("original", PLAN, runs)
    assert [point.carried for point in sweep.points] == [True, True, True, False]
    assert sweep.knee_hz == 200.0
    assert "400 /s: 212 requests were dropped" in sweep.reason
    assert rate_sweep("original", replace(PLAN, p99_factor=1.3), runs).knee_hz == 50.0


def test_a_rate_without_p99_ends_the_knee_undecided(runs: tuple[Run, ...]) -> None:
    few = [
        replace(
            run,
            arrivals=replace(
                run.arrivals, latency=replace(run.arrivals.latency, p99=Estimate.absent("n too small", 64))
            ),
        )
        if run.arrivals and run.benchmark.rate_hz == 100.0
        else run
        for run in runs
    ]
    sweep = rate_sweep("original", PLAN, few)
    assert [point.carried for point in sweep.points] == [True, None, True, False]
    assert sweep.knee_hz == 50.0, "a rate beyond an unknown one proves nothing"
    assert "there is no p99, n too small" in sweep.reason


def test_when_all_rates_are_carried_the_knee_lies_beyond(runs: tuple[Run, ...]) -> None:
    sweep = rate_sweep("original", replace(PLAN, rates_hz=(50.0, 100.0)), runs)
    assert sweep.knee_hz == 100.0
    assert "the knee lies beyond" in sweep.reason


def test_points_of_rates_have_time_for_a_p99() -> None:
    points = point_benchmarks(Benchmark(sustained_s=60.0, scenario="offline"), PLAN)
    assert [p.batch_size for p in points[:4]] == [1, 2, 4, 8]
    assert all(p.sustained_s == 0.0 and not p.scenario and not p.measure_memory for p in points)
    slow = points[4]
    assert slow.arrival == "open_poisson"
    assert slow.sample_count_min == 662
    assert slow.steady_s_max >= 662 / 50.0
    assert sweep_expected_s(Benchmark(), PLAN) > 662 / 50.0


@pytest.mark.parametrize("sizes", [(0,), (2, 1), (1, 1), (-1,)])
def test_a_plan_is_ascending_and_positive(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="ascending"):
        SweepPlan(batch_sizes=sizes)


@pytest.fixture
def path(tmp_path: Path) -> str:
    weights = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


@pytest.mark.timeout(180)
async def test_a_sweep_runs_on_a_board_and_its_points_judge_nobody(tmp_path: Path, path: str) -> None:
    plan = SweepPlan(batch_sizes=(1, 4), rates_hz=(20.0, 40.0))
    benchmark = Benchmark(rounds=3, steady_s_max=1.0, measure_memory=False, measure_nodes=False)
    spec = DeviceSpec.parse("sim:nuc11")
    with App.open(tmp_path / "home") as app:
        (device,) = await bench(
            app, path, (spec,), benchmark, RuntimeSettings(), SilentListener(), sweep=plan
        )
    assert device.error == ""
    assert len(device.runs) == 5
    (judged,) = device.trial_runs
    assert device.evidence[0].run_id == judged.run_id
    assert device.batch_sweep is not None
    one, four = device.batch_sweep.points
    assert (one.throughput_hz.value or 0.0) < (four.throughput_hz.value or 0.0)
    assert device.rate_sweep is not None
    assert len(device.rate_sweep.points) == 2
