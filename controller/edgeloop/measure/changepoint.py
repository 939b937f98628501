"""Where the level of a series changes.

PELT, the pruned exact search of Killick, Fearnhead and Eckley ("Optimal detection of changepoints with a linear
computational cost", JASA 107, 2012), for changes in the mean: segments minimise the sum of squared deviations from
their means plus a penalty per change.

The penalty is ``PENALTY * variance * log(n)`` for the long-run variance: the series is autocorrelated, and
neighbours that hang together look like levels to a penalty that takes them for independent (the usual 2 log n finds
a change in every second flat series then). The variance comes from the first differences without the few large ones,
so that steps between levels do not count, and is raised by (1 + phi) / (1 - phi) for the phi of an AR(1) series with
such differences: var(d) = 2 s^2 (1 - phi), corr(d_t, d_t+1) = -(1 - phi) / 2.

``PENALTY`` was set by simulation over 20 to 60 windows, phi 0 to 0.5: about 1 % of flat series show a change (up to 7 %
of those with 20 windows and a phi of 0.5), and a step of six standard deviations half-way is found in 90 % or more;
tests/controller/measure/test_changepoint.py repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["PENALTY", "changepoints", "long_run_variance"]

PENALTY = 4.0
_MAD_TO_SD = 1.4826
_PHI_MAX = 0.6
_SEGMENT_MIN = 2


def long_run_variance(series: NDArray[np.float64]) -> float:
    """Return the variance that the mean of many neighbours has, times their number; levels do not count."""
    steps = np.diff(series)
    if len(steps) < 3:
        return 0.0
    centre = float(np.median(steps))
    scale = _MAD_TO_SD * float(np.median(np.abs(steps - centre)))
    # A step between levels is one huge difference and says nothing about the noise.
    small = np.abs(steps - centre) <= 3.0 * scale
    steps = np.where(small, steps - centre, 0.0)
    variance = float(np.sum(steps**2)) / max(int(small.sum()), 1)
    if variance <= 0.0:
        return 0.0
    pairs = max(int(np.sum(small[1:] & small[:-1])), 1)
    correlation = float(np.sum(steps[1:] * steps[:-1])) / pairs / variance
    # corr(d_t, d_t+1) = -(1 - phi) / 2
    phi = min(max(1.0 + 2.0 * correlation, 0.0), _PHI_MAX)
    return variance / (2.0 * (1.0 - phi)) * (1.0 + phi) / (1.0 - phi)


def changepoints(series: Sequence[float], penalty: float | None = None) -> tuple[int, ...]:
    """Return the indices at which another level begins, rising; empty when there is one level.

    Args:
        series: equally spaced values, for example logarithms of window medians.
        penalty: cost of one change in squared units of the series; None takes the one of the module's docstring.
    """
    values = np.asarray(series, dtype=np.float64)
    count = len(values)
    if count < 2 * _SEGMENT_MIN:
        return ()
    if penalty is None:
        penalty = PENALTY * long_run_variance(values) * math.log(count)
    if penalty <= 0.0:
        # Without any noise every difference is a change, for example on a clock with few ticks.
        penalty = 1e-12 * max(1.0, float(np.ptp(values)) ** 2)
    return _pelt(values - values.mean(), penalty)


def _pelt(values: NDArray[np.float64], penalty: float) -> tuple[int, ...]:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    count = len(values)
    best = np.full(count + 1, np.inf)
    best[0] = -penalty
    previous = np.zeros(count + 1, dtype=np.intp)
    alive = np.array([0], dtype=np.intp)
    for end in range(_SEGMENT_MIN, count + 1):
        lengths = end - alive
        cost = squares[end] - squares[alive] - (sums[end] - sums[alive]) ** 2 / lengths
        total = best[alive] + cost
        choice = int(np.argmin(total + penalty))
        best[end] = total[choice] + penalty
        previous[end] = alive[choice]
        # Killick's pruning: what is dearer than the best without its penalty never becomes the last change.
        alive = np.append(alive[total <= best[end]], end - _SEGMENT_MIN + 1)
        alive = alive[np.isfinite(best[alive])]
    found = []
    end = count
    while end > 0:
        end = int(previous[end])
        if end > 0:
            found.append(end)
    return tuple(reversed(found))
