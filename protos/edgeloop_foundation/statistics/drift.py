"""How far two distributions over the same bins are apart, from counts alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["kolmogorov_smirnov", "stability_index"]

_PRIOR = 0.5


def stability_index(expected: Sequence[int], found: Sequence[int]) -> float:
    """Return the population stability index, sum of (q - p) ln(q / p) over the bins; 0 for equal shares.

    Half a count is added to every bin (Jeffreys), so that an empty one does not make it infinite. By custom (Siddiqi,
    Credit Risk Scorecards, 2006) below 0.1 is no shift and above 0.25 a large one.

    Raises:
        InvalidInputError: the bins are not the same ones, or one side has no counts.
    """
    _check(expected, found)
    bins = len(expected)
    p = [(count + _PRIOR) / (sum(expected) + _PRIOR * bins) for count in expected]
    q = [(count + _PRIOR) / (sum(found) + _PRIOR * bins) for count in found]
    return math.fsum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def kolmogorov_smirnov(expected: Sequence[int], found: Sequence[int]) -> float:
    """Return the largest distance between the two cumulative shares at an edge of a bin, 0 to 1.

    Between the edges the distance may be larger: it is a lower bound of the statistic over the values themselves.

    Raises:
        InvalidInputError: the bins are not the same ones, or one side has no counts.
    """
    _check(expected, found)
    largest, below = 0.0, [0, 0]
    for first, second in zip(expected, found, strict=True):
        below = [below[0] + first, below[1] + second]
        largest = max(largest, abs(below[0] / sum(expected) - below[1] / sum(found)))
    return largest


def _check(expected: Sequence[int], found: Sequence[int]) -> None:
    if len(expected) != len(found) or min(*expected, *found, 0) < 0 or not sum(expected) or not sum(found):
        raise InvalidInputError("drift is judged from counts of both sides over the same bins.")
