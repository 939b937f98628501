"""How the numbers of each weight are distributed, and what eight bits would cost them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop.compress.graph import parameters_in
from edgeloop.compress.products import channel_axes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WeightStatistics", "weight_statistics"]

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
    return WeightStatistics(
        name=name,
        shape=tuple(int(n) for n in values.shape),
        element_count=int(values.size),
        zero_fraction=float(np.mean(values == 0.0)),
        kurtosis=kurtosis,
        int8_tensor_sqnr_db=_sqnr(values, np.max(np.abs(values))),
        int8_channel_sqnr_db=_sqnr(values, np.max(np.abs(values), axis=others, keepdims=True)),
    )


def _sqnr(values: NDArray[np.float64], largest: Any) -> float | None:
    import numpy as np

    scale = np.where(largest > 0, largest, 1.0) / 127.0
    noise = float(np.sum((values - np.round(values / scale) * scale) ** 2))
    signal = float(np.sum(values**2))
    return 10.0 * math.log10(signal / noise) if noise > 0 and signal > 0 else None
