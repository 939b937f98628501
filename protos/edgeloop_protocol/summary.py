"""Raw samples to the summary that travels."""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import (
    median_absolute_deviation,
    quantile,
    quantile_interval,
    sample_floor,
    tukey_outliers,
)

from edgeloop_protocol.types.measurement import Distribution, Estimate

__all__ = ["distribution", "ratio_of"]


def distribution(samples: Sequence[float], unit: str, confidence: float = 0.95) -> Distribution:
    """Summarise ``samples``, given in any order and in ``unit``.

    A tail quantile below its sample floor is absent with the reason. The median is always given; below its
    floor of samples it has no interval. Intervals are order-statistic intervals.

    Raises:
        InvalidInputError: no samples, or one that is not finite.
    """
    if not samples or not all(map(math.isfinite, samples)):
        raise InvalidInputError(
            f"a distribution needs finite samples, found {len(samples)} of which "
            f"{sum(map(math.isfinite, samples))} are finite."
        )
    ordered = sorted(samples)
    mild, severe = tukey_outliers(ordered)
    mean = math.fsum(ordered) / len(ordered)
    return Distribution(
        unit=unit,
        sample_count=len(ordered),
        minimum=ordered[0],
        maximum=ordered[-1],
        mean=mean,
        standard_deviation=stdlib.stdev(ordered, mean) if len(ordered) > 1 else None,
        median_absolute_deviation=median_absolute_deviation(ordered),
        p50=_estimate(ordered, 0.5, confidence),
        p90=_tail(ordered, 0.9, confidence),
        p95=_tail(ordered, 0.95, confidence),
        p99=_tail(ordered, 0.99, confidence),
        mild_outlier_count=mild,
        severe_outlier_count=severe,
    )


def ratio_of(numerator: Estimate, denominator: Estimate, confidence: float | None) -> Estimate:
    """Return the ratio of two estimates, the ends of their intervals set against each other.

    Without both intervals, or with a denominator's that reaches zero, the ratio has none.

    Args:
        numerator: an estimate above zero.
        denominator: an estimate above zero.
        confidence: confidence of the ratio's interval.
    """
    if numerator.value is None or denominator.value is None:
        return Estimate.absent(numerator.reason or denominator.reason)
    value = numerator.value / denominator.value
    count = min(numerator.sample_count, denominator.sample_count)
    low, high = numerator.low, numerator.high
    if low is None or high is None or not denominator.low or denominator.high is None:
        return Estimate(value=value, sample_count=count)
    return Estimate(
        value=value,
        # The ends of exact figures meet; their quotients may miss each other by a rounding.
        low=min(value, low / denominator.high),
        high=max(value, high / denominator.low),
        confidence=confidence,
        sample_count=count,
    )


def _tail(ordered: Sequence[float], q: float, confidence: float) -> Estimate:
    floor, count = sample_floor(q), len(ordered)
    if count < floor:
        taken = "1 was" if count == 1 else f"{count} were"
        return Estimate.absent(f"p{q * 100:.0f} needs {floor} samples, {taken} taken", count)
    return _estimate(ordered, q, confidence)


def _estimate(ordered: Sequence[float], q: float, confidence: float) -> Estimate:
    value = quantile(ordered, q)
    interval = quantile_interval(ordered, q, confidence)
    if interval is None:
        return Estimate(value=value, sample_count=len(ordered))
    return Estimate(
        value=value, low=interval[0], high=interval[1], confidence=confidence, sample_count=len(ordered)
    )
