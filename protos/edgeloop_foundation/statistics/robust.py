"""Spread and outliers that a few wild samples cannot distort."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from edgeloop_foundation.statistics.order import quantile

__all__ = ["median_absolute_deviation", "tukey_outliers"]


def median_absolute_deviation(sorted_samples: Sequence[float]) -> float:
    """Return the median distance from the median, not scaled to a standard deviation.

    Raises:
        InvalidInputError: no samples.
    """
    median = quantile(sorted_samples, 0.5)
    return quantile(sorted(abs(sample - median) for sample in sorted_samples), 0.5)


def tukey_outliers(sorted_samples: Sequence[float]) -> tuple[int, int]:
    """Return how many samples are mild and how many are severe outliers (Tukey, 1977); no sample is both.

    Mild lie beyond 1.5 interquartile ranges from the quartiles, severe beyond 3.

    Raises:
        InvalidInputError: no samples.
    """
    first, third = quantile(sorted_samples, 0.25), quantile(sorted_samples, 0.75)
    outside = [_outside(sorted_samples, first, third, reach) for reach in (1.5, 3.0)]
    return outside[0] - outside[1], outside[1]


def _outside(sorted_samples: Sequence[float], first: float, third: float, reach: float) -> int:
    distance = reach * (third - first)
    below = bisect_left(sorted_samples, first - distance)
    above = len(sorted_samples) - bisect_right(sorted_samples, third + distance)
    return below + above
