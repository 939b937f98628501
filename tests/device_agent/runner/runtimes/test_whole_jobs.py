"""Whole jobs through the real runner on each installed runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.execute import execute
from edgeloop_protocol.types.artifact import TensorSpec
from edgeloop_protocol.types.run import FailureKind, Outcome, Source, Verdict
from edgeloop_protocol.types.trial import RuntimeSettings

from tests.device_agent.runner.runtimes.conftest import INSTALLED
from tests.device_agent.runner.tflite_models import tflite_with_a_stray


def with_settings(context: Any, *settings: RuntimeSettings) -> Any:
    """Give each trial of the context its settings."""
    trials = tuple(
        replace(trial, settings=chosen) for trial, chosen in zip(context.spec.trials, settings, strict=True)
    )
    return replace(context, spec=replace(context.spec, trials=trials))


async def test_every_runtime_measures_the_same_classifier(bench: Any, workshop: Any, quick: Any) -> None:
    benchmark = replace(quick, measure_memory=True, measure_nodes=True, check_parity=True)
    artifacts = [workshop.mlp(format=kind, label=name) for name, kind in INSTALLED.items()]
    context = bench.context(*artifacts, benchmark=benchmark)
    runs: Any = await execute(with_settings(context, *(RuntimeSettings(runtime=name) for name in INSTALLED)))
    found = {run.trial.label: run for run in runs}
    for name, run in found.items():
        assert (name, run.outcome, run.failure_reason) == (name, Outcome.SUCCESS, "")
        assert run.source is Source.MEASURED
        assert name in run.runtime_version
        assert run.timing.steady.sample_count >= 64
        assert 0.0 < run.timing.steady.p50.value < 0.1
        assert run.timing.cold_load_s.value > 0.0
        assert 20e6 < run.memory.baseline_rss_bytes < run.memory.load_peak_rss_bytes
        assert [c.verdict for c in run.parity.comparisons] == [Verdict.PASSED, Verdict.PASSED]
        assert run.parity.comparisons[0].outputs[0].max_absolute_error < 1e-5
        assert sum(count for _, count in run.placement.nodes_per_provider) >= 3, run.placement
    openvino = found["openvino"].placement
    assert openvino.nodes_per_provider == (("CPU", 3),)
    assert {node.op_type for node in openvino.nodes} <= {"FullyConnected", "Softmax"}
    assert openvino.nodes or "less than the profile's microsecond" in openvino.reason
    litert = found["litert"].placement
    assert litert.nodes_per_provider == (("XNNPACK", 3),)
    assert "no time of single operators" in litert.reason


@pytest.mark.parametrize("name", ["openvino", "litert"])
async def test_planted_errors_fail_parity_on_every_runtime(
    name: str, bench: Any, workshop: Any, quick: Any
) -> None:
    def disturb(values: Any) -> Any:
        values[3, 0] += 0.5
        return values

    artifact = workshop.mlp(format=INSTALLED[name], disturb=disturb)
    benchmark = replace(quick, measure_latency=False, check_parity=True)
    context = with_settings(bench.context(artifact, benchmark=benchmark), RuntimeSettings(runtime=name))
    run: Any
    (run,) = await execute(context)
    host, original = run.parity.comparisons
    assert (host.verdict, original.verdict) == (Verdict.FAILED, Verdict.PASSED)
    assert host.outputs[0].max_absolute_error == pytest.approx(0.5, abs=1e-4)


async def test_what_a_runtime_cannot_do_is_a_row_beside_the_others(
    bench: Any, workshop: Any, quick: Any
) -> None:
    tflite, onnx = workshop.mlp(format="tflite", label="b"), workshop.mlp(label="a")
    context = with_settings(
        bench.context(onnx, tflite, onnx, tflite, benchmark=quick),
        RuntimeSettings(runtime="litert"),
        RuntimeSettings(runtime="litert", inference_precision="bf16"),
        RuntimeSettings(runtime="openvino", allow_spinning=True),
        RuntimeSettings(runtime="litert", providers=("builtin",)),
    )
    runs: Any = await execute(context)
    assert [(run.outcome, run.failure_kind) for run in runs[:3]] == [
        (Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL),
        (Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED),
        (Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED),
    ]
    assert "not the format 'onnx'" in runs[0].failure_reason
    assert "no setting for computing in bf16" in runs[1].failure_reason
    assert "no setting for spinning" in runs[2].failure_reason
    assert (runs[3].outcome, runs[3].failure_reason) == (Outcome.SUCCESS, "")


async def test_a_required_provider_has_to_run_every_operator(bench: Any, workshop: Any, quick: Any) -> None:
    x = np.ones((2, 16), np.float32)
    stray = workshop.artifact(
        tflite_with_a_stray(),
        {"input/x": x, "host/y": np.zeros((2, 4), np.float32)},
        [TensorSpec(name="x", dtype="float32", shape=(-1, 16))],
        format="tflite",
    )
    required = RuntimeSettings(runtime="litert", providers=("XNNPACK",), require_provider=True)
    context = bench.context(
        workshop.mlp(format="tflite"), stray, benchmark=replace(quick, measure_nodes=True)
    )
    whole: Any
    strayed: Any
    whole, strayed = await execute(with_settings(context, required, required))
    assert (whole.outcome, whole.failure_reason) == (Outcome.SUCCESS, "")
    assert (strayed.outcome, strayed.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.PROVIDER_FALLBACK)
    assert "builtin" in strayed.failure_reason
