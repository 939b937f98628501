"""Small real ONNX models of the many kinds the standard allows, with seeded weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


def weight(shape: tuple[int, ...], name: str, seed: int = 0) -> Any:
    """Seeded normal weights, scaled so that activations stay of order one; channels of different size."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
    spread = np.linspace(0.2, 2.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return numpy_helper.from_array((values * spread).astype(np.float32), name)


def save(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    weights: list[Any] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: dict[str, int] | None = None,
    sparse: list[Any] | None = None,
) -> Path:
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, initializer=weights or [], sparse_initializer=sparse or []
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    path.write_bytes(model.SerializeToString())
    return path


def value(name: str, shape: list[int | str], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def cnn(path: Path, opset: int = 17, constants: bool = False) -> Path:
    """Conv, depthwise Conv, 1x1 Conv, global pooling and Gemm; weights as initializers or Constant nodes."""
    weights = [
        weight((8, 3, 3, 3), "w1", 1),
        weight((8,), "b1", 2),
        weight((8, 1, 3, 3), "w2", 3),
        weight((16, 8, 1, 1), "w3", 4),
        weight((10, 16), "w4", 5),
        weight((10,), "b4", 6),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="deep", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], name="point"),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], name="last", transB=1),
    ]
    if constants:
        nodes = [helper.make_node("Constant", [], [w.name], value=w) for w in weights] + nodes
        weights = []
    ir_version = 3 if opset < 9 else 8
    inputs = [value("x", ["batch", 3, 16, 16])]
    if ir_version < 4:
        inputs += [value(w.name, list(w.dims)) for w in weights]
    return save(path, nodes, inputs, [value("y", ["batch", 10])], weights, opset=opset, ir_version=ir_version)


def mlp(path: Path) -> Path:
    """Gemm with alpha, beta and a two-dimensional bias, then MatMul and Add; two outputs."""
    weights = [
        weight((32, 64), "a", 1),
        weight((1, 64), "ab", 2),
        weight((64, 4), "m", 3),
        weight((4,), "mb", 4),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "a", "ab"], ["g"], alpha=0.5, beta=2.0),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("MatMul", ["h", "m"], ["p"]),
        helper.make_node("Add", ["p", "mb"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [value("y", ["n", 4]), value("label", ["n"], INT64)]
    return save(path, nodes, [value("x", ["n", 32])], outputs, weights)


def layered(path: Path, share: float) -> Path:
    """Three MatMul: "touchy" takes only that share of its first feature, which may be large, then "calm" and "last"."""
    first = numpy_helper.to_array(weight((64, 48), "a", 1)).copy()
    first[0] *= share
    weights = [numpy_helper.from_array(first, "a"), weight((48, 96), "b", 2), weight((96, 10), "c", 3)]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="touchy"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["g"], name="calm"),
        helper.make_node("Relu", ["g"], ["s"]),
        helper.make_node("MatMul", ["s", "c"], ["y"], name="last"),
    ]
    return save(path, nodes, [value("x", ["n", 64])], [value("y", ["n", 10])], weights)


def two_inputs(path: Path) -> Path:
    """A gather from a table by token and a float side input, joined."""
    weights = [weight((50, 16), "table", 1), weight((24, 6), "w", 2)]
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Concat", ["m", "side"], ["c"], axis=1),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
    ]
    inputs = [value("tokens", ["n", "t"], INT64), value("side", ["n", 8])]
    return save(path, nodes, inputs, [value("y", ["n", 6])], weights)


def stateful(path: Path) -> Path:
    """A running sum as state: y and the next state grow from step to step."""
    weights = [weight((6, 6), "w", 1)]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Relu", ["p"], ["r"]),
        helper.make_node("Add", ["r", "state"], ["next"]),
        helper.make_node("MatMul", ["next", "w"], ["y"]),
    ]
    inputs = [value("x", ["b", 6]), value("state", ["b", 6])]
    return save(path, nodes, inputs, [value("y", ["b", 6]), value("next", ["b", 6])], weights)


def lstm(path: Path) -> Path:
    """One direction, 12 inputs, 16 hidden units, first axis is time."""
    weights = [weight((1, 64, 12), "w", 1), weight((1, 64, 16), "r", 2), weight((1, 128), "b", 3)]
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=16)
    return save(path, [node], [value("x", ["t", 1, 12])], [value("y", ["t", 1, 1, 16])], weights, opset=14)


def branching(path: Path) -> Path:
    """An If whose branches have a MatMul each, one twice as large as the other's."""
    then = helper.make_graph(
        [helper.make_node("MatMul", ["h", "big"], ["t"])], "then", [], [value("t", ["n", 8])],
        [weight((4, 8), "big", 1)],
    )  # fmt: skip
    other = helper.make_graph(
        [
            helper.make_node("Constant", [], ["small"], value=weight((4, 4), "s", 2)),
            helper.make_node("MatMul", ["h", "small"], ["q"]),
            helper.make_node("Concat", ["q", "q"], ["e"], axis=1),
        ],
        "else", [], [value("e", ["n", 8])],
    )  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "front"], ["h"]),
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ]
    weights = [weight((4, 4), "front", 3), numpy_helper.from_array(np.float32(0), "zero")]
    return save(path, nodes, [value("x", ["n", 4])], [value("y", ["n", 8])], weights)


def looping(path: Path, trips: int = 5) -> Path:
    """A Loop that multiplies by the same matrix several times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("MatMul", ["h", "w"], ["next"])],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("h", ["n", 4])],
        [value("on", [], TensorProto.BOOL), value("next", ["n", 4])],
    )
    weights = [
        weight((4, 4), "w", 1),
        numpy_helper.from_array(np.int64(trips), "trips"),
        numpy_helper.from_array(np.bool_(True), "true"),
    ]
    node = helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body)
    return save(path, [node], [value("x", ["n", 4])], [value("y", ["n", 4])], weights)


def sparse(path: Path) -> Path:
    """A MatMul whose weight is a sparse initializer."""
    values = numpy_helper.from_array(np.array([1.0, 2.0, 3.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([[0, 0], [1, 2], [3, 1]], np.int64), "w_indices")
    tensor = helper.make_sparse_tensor(values, indices, [4, 4])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return save(path, [node], [value("x", ["n", 4])], [value("y", ["n", 4])], sparse=[tensor])


def tree(path: Path, zipmap: bool = False) -> Path:
    """A two-leaf tree of the classic domain, with probabilities as a tensor or, with ZipMap, as maps."""
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "raw"], domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_values=[0.5, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], nodes_missing_value_tracks_true=[0, 0, 0],
        class_treeids=[0, 0], class_nodeids=[1, 2], class_ids=[0, 1], class_weights=[1.0, 1.0],
        classlabels_int64s=[0, 1],
    )  # fmt: skip
    nodes, last = [node], value("raw", ["n", 2])
    if zipmap:
        nodes.append(
            helper.make_node("ZipMap", ["raw"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
        )
        inner = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
        last = helper.make_value_info("maps", helper.make_sequence_type_proto(inner))
    outputs = [value("label", ["n"], INT64), last]
    return save(path, nodes, [value("x", ["n", 2])], outputs, domains={"ai.onnx.ml": 3})


def external(path: Path, location: str = "weights/Big File.bin") -> Path:
    """The CNN with its weights in another file."""
    model = onnx.load(cnn(path))
    (path.parent / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        model, path, save_as_external_data=True, location=location, size_threshold=0, convert_attribute=True
    )
    return path


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Images with a few outliers, so that ways of calibration differ."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((count, 3, 16, 16)).astype(np.float32)
    values[:, 0, 0, 0] *= 20
    return values


def initializers(path: Path) -> dict[str, NDArray[Any]]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
