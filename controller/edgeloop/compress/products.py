"""Products of the main graph with constant weights: where their channels are, and Gemm written as MatMul."""

from __future__ import annotations

from typing import Any

from edgeloop.compress.graph import attribute, graphs_in
from edgeloop.compress.prepare import copy_of, drop_unused

__all__ = ["channel_axes", "channel_axis", "split_gemms"]

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def channel_axes(model: Any) -> dict[str, int]:
    """Return the axis of output channels by name of each weight that a product reads, in all graphs."""
    return {
        node.input[1]: channel_axis(node)
        for graph in graphs_in(model)
        for node in graph.node
        if node.op_type in _PRODUCTS and len(node.input) > 1
    }


def channel_axis(node: Any) -> int:
    """Return the axis of a product's weight along which its output channels lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return -1 if node.op_type == "MatMul" else 1


def split_gemms(proto: Any, names: list[str]) -> Any:
    """Split each chosen Gemm into MatMul and Add under the same name; scale factors go into the constants."""
    import numpy as np
    import onnx

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes: list[Any] = []
    for node in proto.graph.node:
        if node.op_type != "Gemm" or node.name not in names:
            nodes.append(node)
            continue
        left, weight = node.input[0], onnx.numpy_helper.to_array(constants[node.input[1]])
        weight = (weight.T if attribute(node, "transB", 0) else weight) * np.float32(
            attribute(node, "alpha", 1.0)
        )
        held = onnx.numpy_helper.from_array(
            np.ascontiguousarray(weight, np.float32), f"{node.output[0]}_weight"
        )
        proto.graph.initializer.append(held)
        if attribute(node, "transA", 0):
            nodes.append(onnx.helper.make_node("Transpose", [left], [f"{node.output[0]}_left"], perm=[1, 0]))
            left = f"{node.output[0]}_left"
        nodes += _with_bias(proto, node, left, held.name)
    copies = [copy_of(node) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    drop_unused(proto)
    return proto


def _with_bias(proto: Any, node: Any, left: str, weight: str) -> list[Any]:
    import numpy as np
    import onnx

    output = node.output[0]
    if len(node.input) < 3 or not node.input[2]:
        return [onnx.helper.make_node("MatMul", [left, weight], [output], name=node.name)]
    product = onnx.helper.make_node("MatMul", [left, weight], [f"{output}_product"], name=node.name)
    bias, beta, extra = node.input[2], float(attribute(node, "beta", 1.0)), []
    constant = next((tensor for tensor in proto.graph.initializer if tensor.name == bias), None)
    if beta != 1.0 and constant is not None:
        scaled = onnx.numpy_helper.to_array(constant) * np.float32(beta)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(scaled, f"{output}_bias"))
        bias = f"{output}_bias"
    elif beta != 1.0:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(beta), f"{output}_beta"))
        extra = [onnx.helper.make_node("Mul", [bias, f"{output}_beta"], [f"{output}_bias"])]
        bias = f"{output}_bias"
    return [product, *extra, onnx.helper.make_node("Add", [f"{output}_product", bias], [output])]
