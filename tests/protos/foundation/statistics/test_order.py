"""Quantiles, their coverage and their floors."""

from __future__ import annotations

import random

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import quantile, quantile_interval, sample_floor
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(("q", "floor"), [(0.5, 6), (0.9, 64), (0.95, 130), (0.99, 662), (0.1, 64)])
def test_floors_are_those_of_early_stopping(q: float, floor: int) -> None:
    assert sample_floor(q) == floor


@pytest.mark.parametrize("q", [0.9, 0.95, 0.99])
def test_the_floor_is_the_first_count_that_satisfies_the_rule(q: float) -> None:
    def at_most_one_beyond(n: int) -> float:
        return float(q**n + n * (1 - q) * q ** (n - 1))

    assert at_most_one_beyond(sample_floor(q)) <= 0.01 < at_most_one_beyond(sample_floor(q) - 1)


@pytest.mark.parametrize(
    ("samples", "q", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.5),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([0.0, 10.0], 0.9, 9.0),
        ([7.0], 0.99, 7.0),
    ],
)
def test_quantile_interpolates_between_order_statistics(
    samples: list[float], q: float, expected: float
) -> None:
    assert quantile(samples, q) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Ranks of the distribution-free 95 % interval of the median (Conover, 1999).
    [(6, 1, 6), (10, 2, 9), (20, 6, 15), (50, 18, 33), (100, 40, 61)],
)
def test_median_interval_has_the_tabulated_ranks(count: int, low: int, high: int) -> None:
    ranks = [float(rank) for rank in range(1, count + 1)]
    assert quantile_interval(ranks, 0.5, 0.95) == (low, high)


def test_too_few_samples_have_no_interval() -> None:
    assert quantile_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.5, 0.95) is None
    assert quantile_interval([float(n) for n in range(60)], 0.99, 0.95) is None
    assert quantile_interval([], 0.5, 0.95) is None


@pytest.mark.parametrize(("q", "count"), [(0.5, 6), (0.5, 41), (0.9, 64), (0.99, 662)])
def test_interval_covers_the_true_quantile_as_often_as_it_says(q: float, count: int) -> None:
    source = random.Random(20240501)
    repeats = 400
    covered = 0
    for _ in range(repeats):
        interval = quantile_interval(sorted(source.random() for _ in range(count)), q, 0.95)
        assert interval is not None
        covered += interval[0] <= q <= interval[1]
    # Three standard errors below 95 %: the interval is conservative, never liberal.
    assert covered / repeats >= 0.95 - 3 * (0.95 * 0.05 / repeats) ** 0.5
    assert covered < repeats or count < 100, "an interval that always covers is too wide to mean anything"


@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=300),
    st.sampled_from([0.25, 0.5, 0.75, 0.9, 0.95, 0.99]),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_interval_holds_its_point_and_both_are_samples_range(
    samples: list[float], q: float, confidence: float
) -> None:
    samples.sort()
    value = quantile(samples, q)
    assert samples[0] <= value <= samples[-1]
    interval = quantile_interval(samples, q, confidence)
    if interval is not None:
        assert interval[0] <= value <= interval[1]


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 50.0])
def test_quantiles_are_fractions(q: float) -> None:
    for call in (
        lambda: quantile([1.0], q),
        lambda: sample_floor(q),
        lambda: quantile_interval([1.0], q, 0.9),
    ):
        with pytest.raises(InvalidInputError, match="fraction"):
            call()


def test_no_samples_have_no_quantile() -> None:
    with pytest.raises(InvalidInputError, match="at least one sample"):
        quantile([], 0.5)
