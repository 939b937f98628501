"""Whether the samples have one mode or two.

A valley test on the histogram of log latency. For every bin that has a tenth of the samples or more on either side,
the depth of the valley is how far its count lies below the lower of the two highest peaks beside it, in standard
deviations of that difference (Poisson counts, thinned by the autocorrelation: of samples that hang together fewer
count). The deepest valley makes two modes when it is deeper than ``DEPTH_MIN``, its count is below ``FLOOR_MAX`` of
the lower peak and the modes lie ``SEPARATION_MIN`` or more apart: below that both figures say the same to everybody.

No kernel density: its answer hangs on a bandwidth, and a right tail needs another one than the body. Hartigan's dip
lost: its null is the uniform distribution, against which 20 % of the samples in a second mode are often not found
among a hundred, and it does not say where to cut.

``DEPTH_MIN`` was set by simulation on 64 to 5,000 samples of log-normal bodies (and of uniform and exponential ones)
with up to 9 % of Pareto stalls and autocorrelation up to 0.8: at most 5 % of these get two modes. A second mode of
20 % at 1.3 times a body whose standard deviation is 5 % is found in 90 % or more from 300 samples on, at 3 % from 100
samples on; tests/controller/measure/test_modality.py repeats it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeloop.domain.latency import LatencyMode

__all__ = ["DEPTH_MIN", "MASS_MIN", "SEPARATION_MIN", "find_modes"]

MASS_MIN = 0.10
DEPTH_MIN = 2.0
FLOOR_MAX = 0.5
SEPARATION_MIN = 0.03
_SAMPLES_MIN = 64
_BINS_MIN, _BINS_MAX = 12, 64

Floats = NDArray[np.float64]


def find_modes(samples_s: Floats, correlation: float = 0.0) -> tuple[LatencyMode, ...]:
    """Return one mode, or both with the faster first; none below 64 samples or where one is not above zero.

    Args:
        samples_s: pooled samples in any order.
        correlation: their lag-1 autocorrelation in order of time.
    """
    if len(samples_s) < _SAMPLES_MIN or float(samples_s.min()) <= 0.0:
        return ()
    logs = np.sort(np.log(samples_s))
    cut = _valley(logs, min(max(correlation, 0.0), 0.95))
    if cut is None:
        return (_mode(logs, len(logs)),)
    place = int(np.searchsorted(logs, cut))
    faster, slower = logs[:place], logs[place:]
    if float(np.median(slower) - np.median(faster)) < SEPARATION_MIN:
        return (_mode(logs, len(logs)),)
    return (_mode(faster, len(logs)), _mode(slower, len(logs)))


def _mode(logs: Floats, count: int) -> LatencyMode:
    return LatencyMode(centre_s=math.exp(float(np.median(logs))), share=len(logs) / count)


def _valley(logs: Floats, correlation: float) -> float | None:
    """Return where the deepest valley lies that separates two modes."""
    # The tail beyond 99 % can be no mode and would stretch the bins.
    low, high = (float(x) for x in np.quantile(logs, (0.005, 0.99)))
    width = _bin_width(logs)
    if high <= low or width <= 0.0:
        return None
    bins = int(min(max((high - low) / width, _BINS_MIN), _BINS_MAX))
    counts, edges = np.histogram(logs, bins=bins, range=(low, high))
    smooth = np.convolve(counts, np.ones(3), mode="same")
    below = np.cumsum(counts) / len(logs)
    effective = (1.0 - correlation) / (1.0 + correlation)
    left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
    lower_peak = np.minimum(left, right)
    middle = below - 0.5 * counts / len(logs)
    allowed = (middle >= MASS_MIN) & (middle <= 1.0 - MASS_MIN) & (smooth < FLOOR_MAX * lower_peak)
    depth = (lower_peak - smooth) * math.sqrt(effective) / np.sqrt(np.maximum(lower_peak + smooth, 1.0))
    depth = np.where(allowed, depth, -np.inf)
    if float(depth.max()) < DEPTH_MIN:
        return None
    # Of a wide empty valley the middle.
    deepest = np.flatnonzero(depth == depth.max())
    centre = int(deepest[len(deepest) // 2])
    return float(0.5 * (edges[centre] + edges[centre + 1]))


def _bin_width(logs: Floats) -> float:
    """Return a width after Freedman and Diaconis (1981), from the densest half instead of the interquartile range.

    Two modes far apart blow the interquartile range up; the shortest half stays within one of them.
    """
    half = len(logs) // 2
    shortest = float(np.min(logs[half:] - logs[: len(logs) - half]))
    return float(2.0 * shortest / len(logs) ** (1.0 / 3.0))
