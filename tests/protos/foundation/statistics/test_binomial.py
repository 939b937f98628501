"""Exact binomial intervals and tests against published values."""

from __future__ import annotations

import math

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import binomial_interval, binomial_two_sided_p
from edgeloop_foundation.statistics.beta import beta_quantile, regularised_beta
from edgeloop_foundation.statistics.binomial import binomial_cdf
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Geigy Scientific Tables and R 4 binom.test, 95 %.
        (0, 10, 0.0, 0.3084971),
        (1, 10, 0.002528579, 0.4450161),
        (5, 10, 0.1870860, 0.8129140),
        (10, 10, 0.6915029, 1.0),
        (1, 20, 0.001265089, 0.2487328),
        (3, 100, 0.006229972, 0.08517605),
    ],
)
def test_clopper_pearson_matches_the_tables(successes: int, trials: int, low: float, high: float) -> None:
    found = binomial_interval(successes, trials)
    assert found == pytest.approx((low, high), rel=2e-6, abs=1e-12)


@given(st.integers(1, 2000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_clopper_pearson_ends_have_exactly_their_tail(trials: int, share: float, confidence: float) -> None:
    successes = round(share * trials)
    low, high = binomial_interval(successes, trials, confidence)
    tail = (1 - confidence) / 2
    if successes > 0:
        assert 1 - binomial_cdf(successes - 1, trials, low) == pytest.approx(tail, rel=1e-6)
    if successes < trials:
        assert binomial_cdf(successes, trials, high) == pytest.approx(tail, rel=1e-6)
    assert low <= successes / trials <= high


def test_nothing_tried_tells_nothing() -> None:
    assert binomial_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("successes", "trials", "probability", "expected"),
    [
        (0, 6, 0.5, 2 / 64),
        (1, 10, 0.5, 22 / 1024),
        (5, 10, 0.5, 1.0),
        # R: binom.test(682, 925, p = 3/4), the Mendel example of its manual page.
        (682, 925, 0.75, 0.3824916),
        (0, 0, 0.5, 1.0),
    ],
)
def test_two_sided_p_is_exact(successes: int, trials: int, probability: float, expected: float) -> None:
    assert binomial_two_sided_p(successes, trials, probability) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 400), st.integers(1, 400))
def test_two_sided_p_at_one_half_is_twice_the_tail(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    tail = math.fsum(math.comb(trials, k) for k in range(min(successes, trials - successes) + 1)) / 2**trials
    assert binomial_two_sided_p(successes, trials) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


@given(st.integers(1, 300), st.floats(0.001, 0.999), st.integers(0, 299))
def test_cumulative_distribution_equals_the_sum(trials: int, probability: float, successes: int) -> None:
    successes = min(successes, trials)
    total = math.fsum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
        for k in range(successes + 1)
    )
    assert binomial_cdf(successes, trials, probability) == pytest.approx(total, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [(0.5, 1, 1, 0.5), (0.3, 2, 1, 0.09), (0.5, 7.5, 7.5, 0.5), (0.25, 0.5, 0.5, 1 / 3), (0.0, 2, 3, 0.0)],
)
def test_incomplete_beta_in_closed_form(x: float, a: float, b: float, expected: float) -> None:
    assert regularised_beta(x, a, b) == pytest.approx(expected, rel=1e-13)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.3, 1e4), st.floats(0.3, 1e4))
def test_beta_quantile_inverts_the_distribution(probability: float, a: float, b: float) -> None:
    x = beta_quantile(probability, a, b)
    below = math.nextafter(x, 0.0)
    assert regularised_beta(below, a, b) <= probability * (1 + 1e-9)
    assert regularised_beta(x, a, b) >= probability * (1 - 1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(InvalidInputError, match="successes"):
        binomial_interval(successes, trials)
    with pytest.raises(InvalidInputError, match="successes"):
        binomial_two_sided_p(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(InvalidInputError, match="confidence"):
        binomial_interval(1, 2, confidence)
