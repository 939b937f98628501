"""Sums of 8-bit products as the instructions add them, and how ONNX Runtime scales the sums.

``vpmaddubsw`` multiplies neighbours in the order of the summed axis: elements 0 and 1, 2 and 3, and so on, because
every kernel packs four of them at a time (``MlasGemmU8S8CopyPackBAvx2``, ``MlasConvSymPackW``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["accumulate", "can_saturate", "requantize", "saturating_pairs"]

Array = NDArray[Any]

_WORD_MIN, _WORD_MAX = -(1 << 15), (1 << 15) - 1
_BYTE_MAX = 255
# Whole numbers up to 2**24 are exact in float32, in any order of summation, and there are fast products of it.
_DEPTH = (1 << 24) // (_BYTE_MAX * _BYTE_MAX)


def saturating_pairs(right: Array, largest: Array | None = None) -> Array:
    """Return which pairs of weights some unsigned activations drive out of 16 bits.

    Args:
        right: ``[depth, columns]`` of int8.
        largest: ``[depth, 1]``, the largest activation of each; any byte by default.

    Returns:
        ``[ceil(depth / 2), columns]`` of bool.
    """
    reach = right.astype(np.int32) * (_BYTE_MAX if largest is None else largest.astype(np.int32))
    first, second = _pairs(reach)
    highest = np.maximum(first, 0) + np.maximum(second, 0)
    lowest = np.minimum(first, 0) + np.minimum(second, 0)
    return np.asarray((highest > _WORD_MAX) | (lowest < _WORD_MIN))


def can_saturate(right: Array) -> bool:
    """Return whether any pair of these weights, ``[depth, columns]``, can leave 16 bits."""
    return bool(saturating_pairs(right).any())


def accumulate(left: Array, right: Array, *, saturating: bool) -> Array:
    """Return the sums of products as int64, before zero points.

    Args:
        left: ``[rows, depth]`` of uint8 or int8.
        right: ``[depth, columns]`` of uint8 or int8.
        saturating: whether sums of two are saturated, which happens to uint8 with int8 only.
    """
    sums = np.zeros((left.shape[0], right.shape[1]), dtype=np.int64)
    for start in range(0, left.shape[1], _DEPTH):
        part = slice(start, start + _DEPTH)
        sums += np.matmul(left[:, part].astype(np.float32), right[part].astype(np.float32)).astype(np.int32)
    if saturating and left.dtype == np.uint8 and right.dtype == np.int8:
        _take_off_excess(sums, left, right)
    return sums


def _take_off_excess(sums: Array, left: Array, right: Array) -> None:
    """Subtract what saturation swallows; only the pairs that can overflow are looked at."""
    possible = saturating_pairs(right, left.max(axis=0, initial=0)[:, None])
    first, second = _pairs(right)
    ahead, behind = left[:, 0::2], left[:, 1::2]
    for pair in np.flatnonzero(possible.any(axis=1)):
        columns = np.flatnonzero(possible[pair])
        # A pair that can overflow has two members: a single product always fits.
        product = np.multiply.outer(ahead[:, pair].astype(np.int32), first[pair, columns])
        product += np.multiply.outer(behind[:, pair].astype(np.int32), second[pair, columns])
        sums[:, columns] -= product - np.clip(product, _WORD_MIN, _WORD_MAX)


def _pairs(right: Array) -> tuple[Array, Array]:
    wide = right.astype(np.int32)
    if len(wide) % 2:
        wide = np.concatenate([wide, np.zeros((1, wide.shape[1]), np.int32)])
    return wide[0::2], wide[1::2]


def requantize(sums: Array, scale: Array, zero_point: Array) -> Array:
    """Return sums in the 8-bit type of the zero point: float32 product, clamped, rounded half to even.

    ``MlasRequantizeOutput`` and the post-processing of the convolution kernels do it in this order.

    Args:
        sums: int32, the last axis being the one that scales differ along.
        scale: float32, one or one for each element of the last axis.
        zero_point: scalar of int8 or uint8.
    """
    limits, zero = np.iinfo(zero_point.dtype), int(zero_point)
    scaled = sums.astype(np.float32) * scale
    scaled = np.clip(scaled, np.float32(limits.min - zero), np.float32(limits.max - zero))
    return np.asarray((np.rint(scaled).astype(np.int32) + zero).astype(zero_point.dtype))
