"""Small networks, quantised by ONNX Runtime's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SHAPE = (3, 13, 13)


def items(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return inputs of which many reach the end of their range, where sums saturate."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.standard_normal((count, *SHAPE)) * 3, -2, 2).astype(np.float32)


def write_network(path: Path) -> Path:
    """Write convolutions of every kind (strided, grouped, depthwise, dilated, pointwise), a MatMul and a Gemm."""
    rng = np.random.default_rng(7)
    shapes = {"w0": (16, 3, 3, 3), "w1": (16, 1, 3, 3), "w2": (16, 4, 3, 3), "w3": (24, 16, 1, 1)}
    shapes |= {"w4": (24, 18), "w5": (5, 18), "b5": (5,)}
    # Of one sign for the greater part, so that neighbours add up.
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) + 1).astype(np.float32), name)
        for name, shape in shapes.items()
    ]

    def conv(read: str, weight: str, write: str, **attributes: Any) -> Any:
        kernel = list(shapes[weight][2:])
        return helper.make_node(
            "Conv", [read, weight], [write], name=write, kernel_shape=kernel, **attributes
        )

    nodes = [
        conv("x", "w0", "c0", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        conv("r0", "w1", "c1", pads=[1, 1, 1, 1], group=16),
        conv("c1", "w2", "c2", pads=[2, 2, 2, 2], dilations=[2, 2], group=4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        conv("r2", "w3", "c3"),
        helper.make_node("GlobalAveragePool", ["c3"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w4"], ["m"], name="product"),
        helper.make_node("Relu", ["m"], ["rm"]),
        helper.make_node("Gemm", ["rm", "w5", "b5"], ["y"], name="last", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def quantize(path: Path, form: str, *, activations: str = "QUInt8", reduce_range: bool = False) -> Path:
    """Write the model of ``path`` as "QDQ", "QOperator" or "dynamic" and return where."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Items(CalibrationDataReader):
        def __init__(self) -> None:
            self._items = iter([{"x": item[None]} for item in items(8)])

        def get_next(self) -> Any:
            return next(self._items, None)

    written = path.with_name(f"{form}-{activations}-{reduce_range}.onnx".lower())
    signed = QuantType.QInt8
    if form == "dynamic":
        only = ["MatMul", "Gemm"]
        quantize_dynamic(path, written, only, weight_type=signed, reduce_range=reduce_range)
        return written
    quantize_static(
        path,
        written,
        Items(),
        quant_format=QuantFormat[form],
        activation_type=QuantType[activations],
        weight_type=signed,
        per_channel=form == "QDQ",
        reduce_range=reduce_range,
    )
    return written
