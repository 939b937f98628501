"""What OpenVINO alone has: precisions that it may change, averages over all runs, and its own messages."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtimes import openvino
from edgeloop_agent.runner.runtimes.openvino import placement_of
from edgeloop_protocol.types.run import FailureKind, Outcome
from onnx import TensorProto, helper

A, B = ("a", "Convolution"), ("b", "Softmax")


def test_the_means_leave_the_first_runs_out() -> None:
    placement = placement_of({A: 10.0, B: 2.0}, 10, {A: 6.0, B: 1.0}, 2, "CPU")
    assert {(n.name, n.op_type, n.provider): n.mean_s for n in placement.nodes} == {
        ("a", "Convolution", "CPU"): pytest.approx(0.5),
        ("b", "Softmax", "CPU"): pytest.approx(0.125),
    }
    assert (placement.nodes_per_provider, placement.reason) == ((("CPU", 2),), "")


def test_without_a_reading_after_the_first_runs_all_of_them_count() -> None:
    (node,) = placement_of({A: 10.0}, 10, {}, 2, "CPU").nodes
    assert node.mean_s == pytest.approx(1.0)


def test_a_node_below_the_clock_is_counted_and_has_no_time() -> None:
    placement = placement_of({A: 10.0, B: 1.0}, 10, {A: 5.0, B: 1.0}, 5, "GPU.0")
    assert [node.name for node in placement.nodes] == ["a"]
    assert placement.nodes_per_provider == (("GPU.0", 2),)
    assert placement.reason == "1 of 2 nodes take less than the profile's microsecond"


@pytest.mark.parametrize(("totals", "runs"), [({}, 5), ({A: 1.0}, 0), ({A: 1.0}, 2)])
def test_nothing_measured_is_a_reason(totals: dict[tuple[str, str], float], runs: int) -> None:
    placement = placement_of(totals, runs, {A: 1.0}, 2, "CPU")
    assert (placement.nodes, placement.nodes_per_provider) == ((), ())
    assert "no node of a measured run" in placement.reason


def inputs() -> Any:
    return np.random.default_rng(2).standard_normal((64, 16)).astype(np.float32)


def test_float32_is_pinned(open_model: Any, onnxruntime_says: Any) -> None:
    (y,) = open_model("openvino", inference_precision="fp32").executor()({"x": inputs()})
    np.testing.assert_allclose(y, onnxruntime_says(inputs()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_is_in_force_or_refused(
    precision: str, open_model: Any, onnxruntime_says: Any
) -> None:
    import openvino as library

    if precision.upper() in library.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        (y,) = open_model("openvino", inference_precision=precision).executor()({"x": inputs()})
        assert 1e-5 < float(np.abs(y - onnxruntime_says(inputs())).max()) < 0.2
    else:
        # OpenVINO by itself would take another precision and say nothing.
        with pytest.raises(RunnerFailure, match="when asked for") as caught:
            open_model("openvino", inference_precision=precision)
        assert caught.value.outcome is Outcome.UNSUPPORTED


def test_an_option_reaches_the_plugin(open_model: Any) -> None:
    model = open_model("openvino", options=(("ENABLE_HYPER_THREADING", "NO"), ("NUM_STREAMS", "1")))
    compiled = model._request.get_compiled_model()
    assert compiled.get_property("ENABLE_HYPER_THREADING") is False


def test_nodes_need_a_profile(open_model: Any) -> None:
    with pytest.raises(RunnerFailure, match="without profiling"):
        open_model("openvino").placement(0)


def test_an_operator_without_a_translation_is_unsupported(open_model: Any, make_model: Any) -> None:
    from onnx import helper

    from tests.device_agent.runner.conftest import tensor

    content = make_model(
        [helper.make_node("Magic", ["x"], ["y"], domain="edgeloop.test")],
        [tensor("x", [1])],
        [tensor("y", [1])],
        domains=["edgeloop.test"],
    )
    with pytest.raises(RunnerFailure, match="does not run this model") as caught:
        open_model("openvino", content=content)
    assert caught.value.failure_kind is FailureKind.UNSUPPORTED_MODEL
    assert "Magic" in caught.value.reason
    assert ".cpp" not in caught.value.reason


def test_memory_that_ran_out_is_told_apart() -> None:
    failure = openvino._explain(RuntimeError("std::bad_alloc"), "openvino 2026.4.1", loading=True)
    assert (failure.outcome, failure.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)


def test_a_feed_that_lacks_an_input_is_refused(open_model: Any, make_model: Any) -> None:
    # By itself OpenVINO computes with whatever lies in the memory of an input that nobody gave.
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("x", "s", "y")]
    content = make_model([helper.make_node("Add", ["x", "s"], ["y"])], values[:2], values[2:])
    model = open_model("openvino", content=content)
    x = np.ones((1, 2), np.float32)
    assert model.executor()({"x": x, "s": x})[0].tolist() == [[2.0, 2.0]]
    with pytest.raises(RunnerFailure, match="nothing is given for s") as caught:
        model.executor()({"x": x})
    assert model.explain(caught.value) is caught.value


def test_it_leaves_nothing_in_the_home_of_the_user_and_reports_to_nobody(tmp_path: Path) -> None:
    code = """
        import sys
        from edgeloop_agent.runner.runtimes.openvino import _module
        print(_module().__version__, *(name for name in sys.modules if name.startswith("openvino_telemetry.")))
    """
    # Where continuous integration is recognised it keeps silent by itself.
    without = {
        name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=without | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.split()) == 1
    assert list(tmp_path.rglob("*")) == []
