"""What ONNX Runtime alone has: session entries that it would take silently, and what they do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtimes.onnxruntime import _provider_options, knows_entry
from edgeloop_protocol.types.run import Outcome
from edgeloop_protocol.types.trial import RuntimeSettings

CAPI = Path(onnxruntime.__file__).parent / "capi"


@pytest.mark.parametrize(
    "name",
    [
        "session.intra_op.allow_spinning",
        "session.set_denormal_as_zero",
        "session.disable_prepacking",
        "session.dynamic_block_base",
        "optimization.disable_specified_optimizers",
        "ep.context_enable",
    ],
)
def test_documented_entries_are_known(name: str) -> None:
    assert knows_entry(CAPI, name)


@pytest.mark.parametrize("name", ["session.intra_op.allow_spining", "session.set_denormal"])
def test_other_names_are_not(name: str) -> None:
    assert not knows_entry(CAPI, name)


def test_libraries_that_lie_elsewhere_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "binding.so").write_bytes(b"\x7fELF" + bytes(64))
    assert knows_entry(tmp_path, "session.anything")
    (tmp_path / "libonnxruntime.so").write_bytes(b"session.intra_op.allow_spinning\0")
    assert not knows_entry(tmp_path, "session.anything")


@pytest.mark.parametrize(
    ("options", "operators"),
    [
        ((), ["Gemm"]),
        ((("optimization.disable_specified_optimizers", "MatMulAddFusion"),), ["MatMul", "Add"]),
    ],
)
def test_a_session_entry_changes_the_session(
    options: Any, operators: list[str], open_model: Any, make_model: Any, tmp_path: Path
) -> None:
    from onnx import helper

    from tests.device_agent.runner.conftest import tensor

    content = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "b"], ["y"])],
        [tensor("x", [2, 3])],
        [tensor("y", [2, 4])],
        {"w": np.ones((3, 4), np.float32), "b": np.ones(4, np.float32)},
    )
    model = open_model("onnxruntime", content=content, options=options, profile=tmp_path / "p")
    (y,) = model.executor()({"x": np.ones((2, 3), np.float32)})
    assert y.tolist() == [[4.0] * 4] * 2
    assert [node.op_type for node in model.placement(0).nodes] == operators


def test_a_value_that_does_not_fit_is_told(open_model: Any) -> None:
    with pytest.raises(RunnerFailure, match="onnxruntime") as caught:
        open_model("onnxruntime", options=(("session.dynamic_block_base", "many"),), intra_op_threads=2)
    assert caught.value.outcome in (Outcome.USER_ERROR, Outcome.UNSUPPORTED)


def test_nodes_need_a_profile(open_model: Any) -> None:
    with pytest.raises(RunnerFailure, match="without profiling"):
        open_model("onnxruntime").placement(0)


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        ("CUDAExecutionProvider", {"use_tf32": "0"}),
        ("XnnpackExecutionProvider", {"intra_op_num_threads": "3"}),
        ("OpenVINOExecutionProvider", {"num_of_threads": "3", "precision": "FP32"}),
    ],
)
def test_providers_are_told_precision_and_threads(provider: str, told: dict[str, str]) -> None:
    settings = RuntimeSettings(providers=(provider,), intra_op_threads=3)
    assert _provider_options((provider,), settings) == [told]
    chosen = replace(settings, options=tuple((f"provider.{provider}.{name}", "9") for name in told))
    assert _provider_options((provider,), chosen) == [dict.fromkeys(told, "9")]
