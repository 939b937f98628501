"""Student's t: the interval of a mean of few values close to normal, such as medians of processes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics.beta import beta_quantile, check_confidence

__all__ = ["student_t_interval", "student_t_quantile"]


def student_t_quantile(confidence: float, degrees: int) -> float:
    """Return the t with P(-t <= T <= t) = confidence at ``degrees`` of freedom.

    Uses P(|T| > t) = I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2) (DLMF 8.17; Abramowitz and
    Stegun 26.7.1).

    Raises:
        InvalidInputError: no such confidence, or fewer than one degree of freedom.
    """
    check_confidence(confidence)
    if degrees < 1:
        raise InvalidInputError(f"Student's t has at least one degree of freedom, found {degrees}.")
    x = beta_quantile(1.0 - confidence, 0.5 * degrees, 0.5)
    return math.sqrt(degrees * (1.0 - x) / x)


def student_t_interval(values: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Return the mean of ``values`` with the two-sided interval of the true mean: (mean, low, high).

    Raises:
        InvalidInputError: fewer than two values, a value that is not finite, or no such confidence.
    """
    check_confidence(confidence)
    if len(values) < 2 or not all(map(math.isfinite, values)):
        raise InvalidInputError(
            f"the interval of a mean needs at least two finite values, found {list(values)[:8]}."
        )
    mean = statistics.fmean(values)
    spread = statistics.stdev(values, mean) / math.sqrt(len(values))
    half = student_t_quantile(confidence, len(values) - 1) * spread
    return mean, mean - half, mean + half
