"""Exact inference on a count of successes."""

from __future__ import annotations

import math

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics.beta import beta_quantile, check_confidence, regularised_beta

__all__ = ["binomial_cdf", "binomial_interval", "binomial_two_sided_p"]


def _check_counts(successes: int, trials: int) -> None:
    if trials < 0 or not 0 <= successes <= trials:
        raise InvalidInputError(f"successes lie within 0..trials, found {successes} of {trials}.")


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """Return the probability of at most ``successes`` out of ``trials``."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    return regularised_beta(1.0 - probability, trials - successes, successes + 1)


def binomial_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a success rate (Clopper and Pearson, Biometrika 1934).

    No trials tell nothing: the interval is then (0, 1).

    Raises:
        InvalidInputError: successes outside 0..trials, or no such confidence.
    """
    _check_counts(successes, trials)
    check_confidence(confidence)
    tail = 0.5 * (1.0 - confidence)
    low = beta_quantile(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta_quantile(1.0 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return low, high


def binomial_two_sided_p(successes: int, trials: int, probability: float = 0.5) -> float:
    """Return the exact two-sided p-value: the weight of all outcomes no likelier than this one.

    With ``probability`` 0.5 over the discordant pairs this is the exact McNemar test.

    Raises:
        InvalidInputError: successes outside 0..trials, or a probability outside (0, 1).
    """
    _check_counts(successes, trials)
    if not 0.0 < probability < 1.0:
        raise InvalidInputError(f"a probability lies strictly between 0 and 1, found {probability}.")
    # Outcomes that tie but for rounding count as ties; the factor is that of R's binom.test.
    limit = _log_weight(successes, trials, probability) + 1e-7
    weights = (_log_weight(k, trials, probability) for k in range(trials + 1))
    return min(1.0, math.fsum(math.exp(weight) for weight in weights if weight <= limit))


def _log_weight(successes: int, trials: int, probability: float) -> float:
    choose = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    failures = trials - successes
    return choose + successes * math.log(probability) + failures * math.log1p(-probability)
