"""Models with what converters stumble over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def write(
    path: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], shapes: dict[str, list]
) -> Path:
    """Write a model from ``x`` to ``y``."""
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", [values["x"]], [values["y"]], tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A convolution whose output has as many channels as rows and columns, batch free."""
    kernel = np.random.default_rng(3).standard_normal((8, 8, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
        helper.make_node("Identity", ["y"], ["unread"]),
    ]
    shape = ["batch", 8, 8, 8]
    return write(tmp_path / "images.onnx", nodes, {"w": kernel}, {"x": shape, "y": shape})


@pytest.fixture
def read_twice(images: Path, tmp_path: Path) -> Path:
    """The convolution again; its output is read inside the model too, for a second output."""
    model = onnx.load(images)
    model.graph.node.append(helper.make_node("GlobalAveragePool", ["y"], ["means"]))
    model.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, ["batch", 8, 1, 1]))
    onnx.save(model, tmp_path / "twice.onnx")
    return tmp_path / "twice.onnx"


@pytest.fixture
def shape_arithmetic(tmp_path: Path) -> Path:
    """Flattens by a shape that it computes, as exporters do, and ends in a vector."""
    weights = {
        "w": np.random.default_rng(4).standard_normal((48, 5)).astype(np.float32),
        "start": np.array([0], np.int64),
        "stop": np.array([1], np.int64),
        "rest": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Slice", ["size", "start", "stop"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["x", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    shapes = {"x": ["batch", 3, 4, 4], "y": ["batch", 5]}
    return write(tmp_path / "arithmetic.onnx", nodes, weights, shapes)


@pytest.fixture
def vendors_operator(tmp_path: Path) -> Path:
    """An operator of onnxruntime's own that TFLite has nothing for."""
    nodes = [helper.make_node("CDist", ["x", "w"], ["y"], domain="com.microsoft", metric="euclidean")]
    points = np.random.default_rng(5).standard_normal((4, 8)).astype(np.float32)
    path = write(tmp_path / "vendors.onnx", nodes, {"w": points}, {"x": [6, 8], "y": [6, 4]})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    return path
