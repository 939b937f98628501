"""Latencies with what real ones have: processes that differ, neighbours that hang together, a right tail."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def autoregressive(rng: np.random.Generator, count: int, phi: float) -> Floats:
    """Return a stationary AR(1) series with variance 1."""
    noise = rng.standard_normal(count) * math.sqrt(1.0 - phi**2)
    values = np.empty(count)
    values[0] = rng.standard_normal()
    for index in range(1, count):
        values[index] = phi * values[index - 1] + noise[index]
    return values


def process(
    rng: np.random.Generator,
    count: int,
    *,
    phi: float = 0.0,
    spread: float = 0.03,
    stalls: float = 0.04,
    shift: float = 0.0,
) -> Floats:
    """Return latencies around exp(shift): a log-normal body, with stalls of 1.1 times and more (Pareto)."""
    values = np.exp(spread * autoregressive(rng, count, phi))
    stalled = rng.random(count) < stalls
    values[stalled] *= 1.1 * (1.0 + rng.pareto(4.0, int(stalled.sum())))
    return values * math.exp(shift)
