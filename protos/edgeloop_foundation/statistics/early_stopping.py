"""Early stopping of MLPerf LoadGen: a percentile that a finite run is entitled to claim.

Source: ``loadgen/early_stopping.cc`` and ``loadgen/results.cc`` of mlcommons/inference. With tolerance 0 and
confidence 0.99, a run of h + t queries, t of them slow, shows that at least the share ``q`` of all queries is
fast when I_q(h, t + 1) <= 0.01, that is, when P(Binomial(h + t, 1 - q) <= t) <= 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics.binomial import binomial_cdf

__all__ = ["early_stopping_estimate", "early_stopping_fast_count_min"]

_DOUBT = 0.01


def early_stopping_estimate(sorted_samples: Sequence[float], q: float) -> float | None:
    """Return the early-stopping estimate of the ``q`` quantile; None when there are too few samples for one.

    It is the t-th largest sample, with the largest t that as many samples permit: an upper estimate that
    tightens with every sample. 64 samples are the fewest for 0.9, 662 for 0.99.

    Raises:
        InvalidInputError: ``q`` outside (0, 1).
    """
    _check(q)
    count = len(sorted_samples)
    if count < 2 or not _shown(1, count, q):
        return None
    good, bad = 1, count
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _shown(middle, count, q) else (good, middle)
    return sorted_samples[count - good]


def early_stopping_fast_count_min(slow_count: int, q: float) -> int:
    """Return the fewest fast queries beside ``slow_count`` slow ones that show the share ``q`` to be fast.

    A server run passes when its latency bound leaves at least that many queries on the right side.

    Raises:
        InvalidInputError: a negative count, or ``q`` outside (0, 1).
    """
    _check(q)
    if slow_count < 0:
        raise InvalidInputError(f"a count of slow queries is not negative, found {slow_count}.")
    enough = 1
    while not _shown(slow_count, slow_count + enough, q):
        enough *= 2
    short = enough // 2
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if _shown(slow_count, slow_count + middle, q) else (middle, enough)
    return enough


def _shown(slow_count: int, count: int, q: float) -> bool:
    return binomial_cdf(slow_count, count, 1.0 - q) <= _DOUBT


def _check(q: float) -> None:
    if not 0.0 < q < 1.0:
        raise InvalidInputError(f"a quantile is a fraction strictly between 0 and 1, found {q}.")
