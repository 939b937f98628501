"""How the numbers of each weight are distributed, and what eight bits would cost them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop.compress.fourbit import on_grid
from edgeloop.compress.graph import parameters_in
from edgeloop.compress.packed import BLOCK
from edgeloop.compress.products import channel_axes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WeightStatistics", "weight_statistics"]

_ENERGY = 0.9
_WEAK = 0.1
_SVD_ELEMENTS = 1_000_000

_SMALLEST = 64
"""Fewer elements than this say nothing about a distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightStatistics:
    """One weight tensor of at least two axes."""

    #: Name in the graph.
    name: str
    #: Shape.
    shape: tuple[int, ...]
    #: Elements.
    element_count: int
    #: Share of exact zeros.
    zero_fraction: float
    #: Excess kurtosis: 0 for a normal distribution, large with outliers; absent when all elements are equal.
    kurtosis: float | None
    #: Signal to quantisation noise of int8 with one scale a tensor; absent when there is no noise or no
    #: signal.
    int8_tensor_sqnr_db: float | None
    #: The same with one scale an output channel.
    int8_channel_sqnr_db: float | None
    #: The same with 4 bits and one scale a block of 32 neighbours.
    int4_block_sqnr_db: float | None
    #: Share of the singular values (output channels by the rest) that hold 90 % of the energy: small means redundant;
    #: absent for matrices above a million elements, where it would take long.
    energy_rank_share: float | None
    #: Share of the output channels whose norm is below a tenth of the median's.
    weak_channel_share: float


def weight_statistics(model: Any) -> tuple[WeightStatistics, ...]:
    """Return the statistics of every real weight with two axes or more; external data must be loaded."""
    return tuple(_statistics(name, array, axis) for name, array, axis in _weights(model))


def _weights(model: Any) -> Iterator[tuple[str, NDArray[np.float64], int]]:
    """Yield name, values and the axis of output channels."""
    import numpy as np
    import onnx

    axes = channel_axes(model)
    for parameter in parameters_in(model):
        if parameter.dtype not in ("float32", "float16", "float64") or len(parameter.shape) < 2:
            continue
        if parameter.element_count >= _SMALLEST and parameter.tensor.dims == list(parameter.shape):
            values = onnx.numpy_helper.to_array(parameter.tensor).astype(np.float64)
            yield parameter.name, values, axes.get(parameter.name, 0) % values.ndim


def _statistics(name: str, values: NDArray[np.float64], axis: int) -> WeightStatistics:
    import numpy as np

    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / variance**2 - 3.0 if variance > 0 else None
    others = tuple(i for i in range(values.ndim) if i != axis)
    norms = np.sqrt((values**2).sum(axis=others))
    return WeightStatistics(
        name=name,
        shape=tuple(int(n) for n in values.shape),
        element_count=int(values.size),
        zero_fraction=float(np.mean(values == 0.0)),
        kurtosis=kurtosis,
        int8_tensor_sqnr_db=_sqnr(values, np.max(np.abs(values))),
        int8_channel_sqnr_db=_sqnr(values, np.max(np.abs(values), axis=others, keepdims=True)),
        int4_block_sqnr_db=_ratio_db(values, on_grid(values.astype(np.float32), BLOCK)),
        energy_rank_share=_rank_share(np.moveaxis(values, axis, 0).reshape(len(norms), -1)),
        weak_channel_share=float(np.mean(norms < _WEAK * np.median(norms))),
    )


def _rank_share(matrix: NDArray[np.float64]) -> float | None:
    import numpy as np

    if matrix.size > _SVD_ELEMENTS or not np.isfinite(matrix).all() or not matrix.any():
        return None
    energy = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    return float((np.searchsorted(energy, _ENERGY * energy[-1]) + 1) / len(energy))


def _sqnr(values: NDArray[np.float64], largest: Any) -> float | None:
    import numpy as np

    scale = np.where(largest > 0, largest, 1.0) / 127.0
    return _ratio_db(values, np.round(values / scale) * scale)


def _ratio_db(values: NDArray[np.float64], made: Any) -> float | None:
    import numpy as np

    noise = float(np.sum((values - made) ** 2))
    signal = float(np.sum(values**2))
    return 10.0 * math.log10(signal / noise) if noise > 0 and signal > 0 else None
