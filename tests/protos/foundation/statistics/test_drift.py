"""Stability index and Kolmogorov-Smirnov distance against SciPy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics.drift import kolmogorov_smirnov, stability_index


def test_the_index_is_the_symmetric_divergence_of_the_shares() -> None:
    expected, found = (1000, 3000, 6000), (2000, 3000, 5000)
    by_hand = 0.1 * math.log(2.0) + 0.1 * math.log(6 / 5)
    assert stability_index(expected, found) == pytest.approx(by_hand, rel=1e-3)
    assert stability_index(found, expected) == pytest.approx(stability_index(expected, found))


def test_equal_shares_are_no_shift_and_an_empty_bin_is_a_finite_one() -> None:
    assert stability_index((10, 20), (1000, 2000)) == pytest.approx(0.0, abs=1e-3)
    assert 1 < stability_index((100, 0), (0, 100)) < 100


def test_the_distance_is_that_of_scipy_where_values_are_bins() -> None:
    from scipy.stats import ks_2samp

    random = np.random.default_rng(1)
    first, second = random.integers(0, 8, 500), random.binomial(7, 0.4, 700)
    counts = [np.bincount(values, minlength=8).tolist() for values in (first, second)]
    assert kolmogorov_smirnov(*counts) == pytest.approx(ks_2samp(first, second).statistic)


@pytest.mark.parametrize(
    ("expected", "found"), [((1, 2), (1,)), ((0, 0), (1, 1)), ((1, 1), (0, 0)), ((1,), (-1,))]
)
def test_counts_that_cannot_be(expected: tuple[int, ...], found: tuple[int, ...]) -> None:
    for judge in (stability_index, kolmogorov_smirnov):
        with pytest.raises(InvalidInputError):
            judge(expected, found)
