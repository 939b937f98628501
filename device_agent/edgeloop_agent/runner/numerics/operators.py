"""ONNX Runtime's operators on products of 8-bit integers, with the sums of another instruction set.

Scales and their order of multiplication follow ``onnxruntime/core/providers/cpu/quantization`` and
``onnxruntime/contrib_ops/cpu/quantization``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop_agent.runner.numerics.products import accumulate, requantize

__all__ = ["OPERATORS", "Operator", "weight_matrices"]

Array = NDArray[Any]
Inputs = Sequence[Array | None]
Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator: where its operands are and how it is computed."""

    #: Position of the zero point of the activations; its type is theirs.
    left_zero_point: int
    #: Position of the weights.
    weights: int
    #: Position of the weights' zero point.
    weights_zero_point: int
    #: Inputs, attributes and whether sums saturate to the output.
    compute: Callable[[Inputs, Attributes, bool], Array]


def weight_matrices(op_type: str, weights: Array, attributes: Attributes) -> list[Array]:
    """Return weights as ``[depth, columns]``, one a group, in the order in which products are summed.

    Empty for a depthwise convolution, which no kernel computes by pairs.
    """
    if op_type == "QLinearConv":
        group = int(attributes.get("group", 1))
        if weights.shape[1] == 1 and weights.shape[0] == group:
            return []
        return [_filter_matrix(part) for part in np.split(weights, group)]
    if op_type == "QGemm" and attributes.get("transB", 0):
        weights = weights.T
    return list(weights.reshape(-1, *weights.shape[-2:]))


def _filter_matrix(weights: Array) -> Array:
    """``[out, in, *kernel]`` to ``[*kernel x in, out]``: channels are the innermost, ``ReorderFilter``."""
    order = (*range(2, weights.ndim), 1, 0)
    return np.ascontiguousarray(weights.transpose(order)).reshape(-1, weights.shape[0])


def _scalar(array: Array | None, default: Array) -> Array:
    return default if array is None else np.asarray(array).reshape(-1)[0]


def _need(inputs: Inputs, position: int) -> Array:
    found = inputs[position]
    if found is None:
        raise ValueError(f"input {position} is required")
    return found


def _get(inputs: Inputs, position: int) -> Array | None:
    return inputs[position] if position < len(inputs) else None


def _less_zero_points(
    left: Array, right: Array, left_zero: Array, right_zero: Array, saturating: bool
) -> Array:
    """Return int32 sums of ``(left - zero) * (right - zero)``; the raw bytes are what is multiplied."""
    sums = accumulate(left, right, saturating=saturating)
    low, high = left_zero.astype(np.int64), right_zero.astype(np.int64)
    sums -= low * right.sum(axis=0, dtype=np.int64) + high * left.sum(axis=1, dtype=np.int64)[:, None]
    return np.asarray((sums + left.shape[1] * low * high).astype(np.int32))


def _matrix_product(
    left: Array, right: Array, left_zero: Array, right_zero: Array, saturating: bool
) -> Array:
    """``[..., rows, depth] x [..., depth, columns]``, batches broadcast."""
    if right.ndim == 2:
        flat = left.reshape(-1, left.shape[-1])
        product = _less_zero_points(flat, right, left_zero, right_zero, saturating)
        return product.reshape(*left.shape[:-1], right.shape[1])
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    lefts = np.broadcast_to(left, (*batch, *left.shape[-2:])).reshape(-1, *left.shape[-2:])
    rights = np.broadcast_to(right, (*batch, *right.shape[-2:])).reshape(-1, *right.shape[-2:])
    zeros = np.broadcast_to(right_zero, (len(rights), 1, right.shape[-1]))[:, 0]
    products = [
        _less_zero_points(a, b, left_zero, zero, saturating)
        for a, b, zero in zip(lefts, rights, zeros, strict=True)
    ]
    return np.stack(products).reshape(*batch, left.shape[-2], right.shape[-1])


def _zero_of(array: Array) -> Array:
    return np.zeros((), array.dtype)


def _matmul_integer(inputs: Inputs, _: Attributes, saturating: bool) -> Array:
    left, right = _need(inputs, 0), _need(inputs, 1)
    zero = _scalar(_get(inputs, 2), _zero_of(left))
    right_zero = _get(inputs, 3)
    return _matrix_product(
        left, right, zero, _zero_of(right) if right_zero is None else right_zero, saturating
    )


def _matmul_integer_to_float(inputs: Inputs, attributes: Attributes, saturating: bool) -> Array:
    left, right, left_scale, right_scale = (_need(inputs, i) for i in range(4))
    pair = [left, right, _get(inputs, 4), _get(inputs, 5)]
    sums = _matmul_integer(pair, attributes, saturating)
    scaled = sums.astype(np.float32) * (_scalar(left_scale, left_scale) * right_scale)
    bias = _get(inputs, 6)
    return np.asarray(scaled if bias is None else scaled + bias)


def _qlinear_matmul(inputs: Inputs, attributes: Attributes, saturating: bool) -> Array:
    left, left_scale, left_zero, right, right_scale, right_zero, scale, zero = (
        _need(inputs, i) for i in range(8)
    )
    sums = _matmul_integer([left, right, left_zero, right_zero], attributes, saturating)
    factor = _scalar(left_scale, left_scale) * right_scale / _scalar(scale, scale)
    return requantize(sums, factor, _scalar(zero, zero))


def _qgemm(inputs: Inputs, attributes: Attributes, saturating: bool) -> Array:
    left, left_scale, left_zero, right, right_scale, right_zero = (_need(inputs, i) for i in range(6))
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    sums = _matmul_integer([left, right, left_zero, right_zero], attributes, saturating)
    if (bias := _get(inputs, 6)) is not None:
        sums = sums + bias
    factor = np.float32(attributes.get("alpha", 1.0)) * _scalar(left_scale, left_scale) * right_scale
    scale, zero = _get(inputs, 7), _get(inputs, 8)
    if scale is None:
        return np.asarray(sums.astype(np.float32) * factor)
    return requantize(sums, factor / _scalar(scale, scale), _scalar(zero, np.zeros((), left.dtype)))


def _qlinear_conv(inputs: Inputs, attributes: Attributes, saturating: bool) -> Array:
    image, image_scale, image_zero, weights, scale, zero, out_scale, out_zero = (
        _need(inputs, i) for i in range(8)
    )
    zero_point = _scalar(image_zero, image_zero)
    last = bool(attributes.get("channels_last", 0))
    image = image if last else np.moveaxis(image, 1, -1)
    group = int(attributes.get("group", 1))
    matrices = weight_matrices("QLinearConv", weights, attributes)
    padded = _pad(image, weights.shape[2:], attributes, zero_point)
    parts, size = [], image.shape[-1] // group
    for number, matrix in enumerate(matrices):
        columns, shape = _columns(
            padded[..., number * size : (number + 1) * size], weights.shape[2:], attributes
        )
        sums = _less_zero_points(columns, matrix, zero_point, _scalar(zero, zero), saturating)
        parts.append(sums.reshape(*shape, -1))
    sums = np.concatenate(parts, axis=-1)
    if (bias := _get(inputs, 8)) is not None:
        sums = sums + bias
    factor = _scalar(image_scale, image_scale) * scale / _scalar(out_scale, out_scale)
    result = requantize(sums, factor, _scalar(out_zero, out_zero))
    return np.ascontiguousarray(result if last else np.moveaxis(result, -1, 1))


def _pad(image: Array, kernel: Sequence[int], attributes: Attributes, value: Array) -> Array:
    """Pad the spatial axes of ``[n, *spatial, channels]`` with the zero point."""
    rank = len(kernel)
    pads = list(attributes.get("pads", [0] * (2 * rank)))
    how = attributes.get("auto_pad", b"NOTSET")
    if how in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = _same(image.shape[1:-1], kernel, attributes, upper=how == b"SAME_UPPER")
    widths = [(0, 0), *((pads[axis], pads[rank + axis]) for axis in range(rank)), (0, 0)]
    return np.pad(image, widths, constant_values=value)


def _same(spatial: Sequence[int], kernel: Sequence[int], attributes: Attributes, *, upper: bool) -> list[int]:
    strides, dilations = _steps(kernel, attributes)
    before, after = [], []
    for length, width, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(length / stride) - 1) * stride + (width - 1) * dilation + 1 - length)
        small, large = total // 2, total - total // 2
        before.append(small if upper else large)
        after.append(large if upper else small)
    return before + after


def _steps(kernel: Sequence[int], attributes: Attributes) -> tuple[list[int], list[int]]:
    ones = [1] * len(kernel)
    return list(attributes.get("strides", ones)), list(attributes.get("dilations", ones))


def _columns(image: Array, kernel: Sequence[int], attributes: Attributes) -> tuple[Array, tuple[int, ...]]:
    """Return ``[n x positions, *kernel x channels]`` and the shape of the rows, ``(n, *positions)``."""
    strides, dilations = _steps(kernel, attributes)
    counts = [
        (length - (width - 1) * dilation - 1) // stride + 1
        for length, width, stride, dilation in zip(image.shape[1:-1], kernel, strides, dilations, strict=True)
    ]
    taps = []
    for tap in np.ndindex(*kernel):
        starts = [place * dilation for place, dilation in zip(tap, dilations, strict=True)]
        window = tuple(
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, counts, strides, strict=True)
        )
        taps.append(image[(slice(None), *window)])
    rows = (image.shape[0], *counts)
    return np.stack(taps, axis=-2).reshape(math.prod(rows), -1), rows


OPERATORS: Mapping[str, Operator] = {
    "QLinearConv": Operator(left_zero_point=2, weights=3, weights_zero_point=5, compute=_qlinear_conv),
    "QLinearMatMul": Operator(left_zero_point=2, weights=3, weights_zero_point=5, compute=_qlinear_matmul),
    "QGemm": Operator(left_zero_point=2, weights=3, weights_zero_point=5, compute=_qgemm),
    "MatMulInteger": Operator(left_zero_point=2, weights=1, weights_zero_point=3, compute=_matmul_integer),
    "MatMulIntegerToFloat": Operator(
        left_zero_point=4, weights=1, weights_zero_point=5, compute=_matmul_integer_to_float
    ),
}
"""By operator type, in ONNX's own domain and in ``com.microsoft``. ``ConvInteger`` is not among them: its left
operand is the filter, and signed with unsigned is exact."""
