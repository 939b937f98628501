"""Intervals from errors on what was left out, with no more width than the promised coverage takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["COVERAGE", "conformal_factor", "conformal_quantile"]

COVERAGE = 0.9
"""Share of new models that an interval is to hold."""


def conformal_quantile(scores: Sequence[float], coverage: float = COVERAGE) -> float:
    """Return the score that a new one stays within with a probability.

    Of n exchangeable scores the k-th smallest holds a new one with probability k / (n + 1) (Vovk, Gammerman and Shafer
    2005). The rank (n + 1) x coverage mostly is no whole number; taken up to the next one, 12 scores give their largest
    and with it 92 %, 15 give 94 %. Between the two ranks the score is taken in proportion (definition 6 of Hyndman and
    Fan 1996). Beyond the largest rank it is the largest.

    Args:
        scores: of what was left out, at least 0 each.
        coverage: probability that is wanted.

    Raises:
        ValueError: no scores.
    """
    ordered = sorted(scores)
    if not ordered:
        raise ValueError("an interval needs errors")
    rank = min((len(ordered) + 1) * coverage, len(ordered))
    below = max(1, math.floor(rank))
    lower, upper = ordered[below - 1], ordered[min(below, len(ordered) - 1)]
    return lower + max(0.0, rank - below) * (upper - lower)


def conformal_factor(log_errors: Sequence[float], coverage: float = COVERAGE) -> float:
    """Return the split-conformal interval of a prediction as a factor.

    With fewer than nine errors no rank reaches 90 %: the largest is then widened by what is missing, in units of the
    errors' own spread (a normal tail, an assumption).

    Args:
        log_errors: logarithms of predicted over measured, of models that were left out.
        coverage: share of new models of the same kind that are to be within.

    Raises:
        ValueError: no errors.
    """
    sizes = [abs(error) for error in log_errors]
    found = conformal_quantile(sizes, coverage)
    if (len(sizes) + 1) * coverage <= len(sizes):
        return math.exp(found)
    spread = math.sqrt(sum(size**2 for size in sizes) / len(sizes))
    return math.exp(max(found, 1.645 * spread * math.sqrt(1 + 1 / len(sizes))))
