"""Quantiles, their distribution-free intervals, and how many samples they need."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics.beta import check_confidence
from edgeloop_foundation.statistics.binomial import binomial_cdf

__all__ = ["quantile", "quantile_interval", "sample_floor"]

_EARLY_STOPPING_CONFIDENCE = 0.99
_MEDIAN_CONFIDENCE = 0.95


def _check_quantile(q: float) -> None:
    if not 0.0 < q < 1.0:
        raise InvalidInputError(f"a quantile is a fraction strictly between 0 and 1, found {q}.")


def quantile(sorted_samples: Sequence[float], q: float) -> float:
    """Return the ``q`` quantile by linear interpolation (type 7 of Hyndman and Fan, 1996).

    Raises:
        InvalidInputError: no samples, or ``q`` outside (0, 1).
    """
    _check_quantile(q)
    if not sorted_samples:
        raise InvalidInputError("a quantile needs at least one sample, found none.")
    position = (len(sorted_samples) - 1) * q
    below = math.floor(position)
    low, high = sorted_samples[below], sorted_samples[min(below + 1, len(sorted_samples) - 1)]
    # Clamped, because rounding may put the weighted mean of two equal samples beside them.
    return min(max(low + (position - below) * (high - low), low), high)


def quantile_interval(
    sorted_samples: Sequence[float], q: float, confidence: float
) -> tuple[float, float] | None:
    """Return the order-statistic interval of the ``q`` quantile, or None when there are too few samples.

    Distribution-free: B ~ Binomial(n, q) samples lie below the quantile, so the interval from the l-th to
    the u-th smallest covers it with probability P(l <= B < u); each tail gets at most half of what the
    confidence leaves (David and Nagaraja, Order Statistics, 7.1). For continuous distributions the coverage
    is at least ``confidence``.

    Raises:
        InvalidInputError: ``q`` or ``confidence`` outside (0, 1).
    """
    _check_quantile(q)
    check_confidence(confidence)
    ranks = _interval_ranks(len(sorted_samples), q, confidence)
    return None if ranks is None else (sorted_samples[ranks[0] - 1], sorted_samples[ranks[1] - 1])


# Jobs differ in their counts: thousands of entries are a megabyte of an agent that should stay small.
@functools.lru_cache(maxsize=128)
def _interval_ranks(count: int, q: float, confidence: float) -> tuple[int, int] | None:
    low = _lower_rank(count, q, confidence)
    high = count + 1 - _lower_rank(count, 1.0 - q, confidence)
    return (low, high) if 1 <= low < high <= count else None


def _lower_rank(count: int, q: float, confidence: float) -> int:
    """Return the largest rank that lies above the quantile in at most half of the error; 0 if none."""
    tail = 0.5 * (1.0 - confidence)
    good, bad = 0, count + 1
    while bad - good > 1:
        rank = (good + bad) // 2
        if binomial_cdf(rank - 1, count, q) <= tail:
            good = rank
        else:
            bad = rank
    return good


@functools.cache
def sample_floor(q: float) -> int:
    """Return the fewest samples from which the ``q`` quantile may be stated; 0.99 is a p99.

    The rule of MLPerf LoadGen's early stopping: with one sample set aside beyond the quantile, n samples
    must refute with 99 % confidence that the true quantile is larger, that is P(Binomial(n, 1 - q) <= 1) <=
    0.01. It yields 64 for 0.9, 130 for 0.95 and 662 for 0.99. Quantiles below the median mirror those above.
    The median itself asks for no tail and needs what its two-sided 95 % order-statistic interval needs: 6.

    Raises:
        InvalidInputError: ``q`` outside (0, 1).
    """
    _check_quantile(q)
    if q == 0.5:
        return next(n for n in range(1, 64) if _interval_ranks(n, q, _MEDIAN_CONFIDENCE) is not None)
    tail = min(q, 1.0 - q)
    enough = 2
    while not _refutes(enough, tail):
        enough *= 2
    short = enough // 2
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if _refutes(middle, tail) else (middle, enough)
    return enough


def _refutes(count: int, tail: float) -> bool:
    return binomial_cdf(1, count, tail) <= 1.0 - _EARLY_STOPPING_CONFIDENCE
