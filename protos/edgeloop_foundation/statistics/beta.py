"""The regularised incomplete beta function and its inverse, on which every exact interval here rests."""

from __future__ import annotations

import math

from edgeloop_foundation.errors import InternalError, InvalidInputError

__all__ = ["beta_quantile", "check_confidence", "regularised_beta"]

_ITERATIONS = 100_000
_TINY = 1e-300
_EPSILON = 1e-16


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no probability strictly between 0 and 1.

    Raises:
        InvalidInputError: it is not.
    """
    if not 0.0 < confidence < 1.0:
        raise InvalidInputError(f"a confidence lies strictly between 0 and 1, found {confidence}.")


def regularised_beta(x: float, a: float, b: float) -> float:
    """Return I_x(a, b), the distribution function of Beta(a, b), for a, b > 0 and x within [0, 1].

    Evaluated by the continued fraction DLMF 8.17.22 with the modified Lentz algorithm (Thompson and Barnett,
    1986) on the side where it converges fast.

    Raises:
        InvalidInputError: an argument out of its range.
    """
    if not (a > 0.0 and b > 0.0 and 0.0 <= x <= 1.0):
        raise InvalidInputError(f"I_x(a, b) needs a, b > 0 and 0 <= x <= 1, found x={x}, a={a}, b={b}.")
    if x in (0.0, 1.0):
        return x
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _by_fraction(1.0 - x, b, a, complement=x)
    return _by_fraction(x, a, b, complement=1.0 - x)


def _by_fraction(x: float, a: float, b: float, *, complement: float) -> float:
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(complement)
    return math.exp(scale) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, _ITERATIONS):
        m, odd = divmod(step, 2)
        if odd:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / ((1.0 + term * d) or _TINY)
        c = (1.0 + term / c) or _TINY
        value *= c * d
        if abs(c * d - 1.0) < _EPSILON:
            return value
    raise InternalError(f"the continued fraction of I_x(a, b) did not converge at x={x}, a={a}, b={b}.")


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the x with I_x(a, b) = probability, by bisection down to neighbouring floats.

    Raises:
        InvalidInputError: an argument out of its range.
    """
    if not 0.0 <= probability <= 1.0:
        raise InvalidInputError(f"a probability lies within [0, 1], found {probability}.")
    low, high = 0.0, 1.0
    while low < (middle := 0.5 * (low + high)) < high:
        if regularised_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return high
