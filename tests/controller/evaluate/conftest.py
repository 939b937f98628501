"""Small ONNX models and their descriptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.domain.model import ModelDescription
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec
from onnx import TensorProto, helper, numpy_helper

Describe = Callable[..., ModelDescription]


@pytest.fixture
def describe() -> Describe:
    def make(
        *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (), state: tuple[StateBinding, ...] = ()
    ) -> ModelDescription:
        return ModelDescription(
            name="tiny",
            format="onnx",
            digest="0" * 64,
            size_bytes=100,
            inputs=inputs,
            outputs=outputs or (spec("scores", (-1, 3)),),
            opsets=(("", 17),),
            ir_version=8,
            parameter_count=1,
            operator_counts=(("MatMul", 1),),
            precision="fp32",
            quantized=False,
            state=state,
        )

    return make


def spec(name: str, shape: tuple[int, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def value(name: str, shape: list, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """scores = x @ WEIGHTS, free batch."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"])]
    return _save(
        tmp_path / "linear.onnx", nodes, [value("x", ["n", 4])], [value("scores", ["n", 3])], {"w": WEIGHTS}
    )


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    """The same at batch 1 only."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"])]
    return _save(
        tmp_path / "fixed.onnx", nodes, [value("x", [1, 4])], [value("scores", [1, 3])], {"w": WEIGHTS}
    )


@pytest.fixture
def coupled(tmp_path: Path) -> Path:
    """y = x / max over everything: an answer depends on what else is in the batch."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Div", ["x", "m"], ["y"]),
    ]
    return _save(tmp_path / "coupled.onnx", nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], {})


@pytest.fixture
def running_sum(tmp_path: Path) -> Path:
    """y = x * gain + state, state' = y; state [1, batch, 2], gain a scalar."""
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["scaled"]),
        helper.make_node("Squeeze", ["state", "zero"], ["before"]),
        helper.make_node("Add", ["scaled", "before"], ["y"]),
        helper.make_node("Unsqueeze", ["y", "zero"], ["state_out"]),
    ]
    inputs = [value("x", ["n", 2]), value("state", [1, "n", 2]), value("gain", [])]
    outputs = [value("y", ["n", 2]), value("state_out", [1, "n", 2])]
    return _save(tmp_path / "sum.onnx", nodes, inputs, outputs, {"zero": np.array([0], np.int64)})


@pytest.fixture
def sequence_model(tmp_path: Path) -> Path:
    """total = sum over all of a [t, 2] input that has no batch axis."""
    nodes = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
    return _save(tmp_path / "sequence.onnx", nodes, [value("x", ["t", 2])], [value("total", [])], {})
