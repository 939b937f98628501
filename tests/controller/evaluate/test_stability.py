from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.stability import stability
from onnx import TensorProto, helper


def model(path: Path, nodes: list[onnx.NodeProto], batch: int | str = "n") -> Path:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 4]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def data() -> Dataset:
    x = np.random.default_rng(0).uniform(1, 2, (40, 4)).astype(np.float32)
    x[3, 1] = 200.0
    return Dataset(name="d", inputs={"x": x})


def test_overflow_is_counted(tmp_path: Path, data: Dataset) -> None:
    (found,) = stability(model(tmp_path / "m.onnx", [helper.make_node("Exp", ["x"], ["y"])]), data)
    assert (found.infinite_count, found.nan_count, found.value_count) == (1, 0, 128)
    assert found.repeatable
    assert found.batch_difference == pytest.approx(0.0, abs=1e-6)


def test_a_model_whose_answer_depends_on_its_neighbours_is_seen(tmp_path: Path, data: Dataset) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Div", ["x", "m"], ["y"]),
    ]
    (found,) = stability(model(tmp_path / "m.onnx", nodes), data)
    assert found.batch_difference is not None
    assert found.batch_difference > 0.3


def test_a_model_without_batches_says_so(tmp_path: Path, data: Dataset) -> None:
    (found,) = stability(model(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], 1), data)
    assert found.batch_difference is None or found.batch_difference == 0.0
    assert found.largest == pytest.approx(200.0)
