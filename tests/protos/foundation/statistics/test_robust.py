"""Robust spread and outlier counts."""

from __future__ import annotations

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import median_absolute_deviation, tukey_outliers


def test_median_absolute_deviation_ignores_one_wild_sample() -> None:
    assert median_absolute_deviation([1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]) == 1.0
    assert median_absolute_deviation([1.0, 2.0, 3.0, 4.0, 1e9]) == 1.0


def test_outliers_are_mild_or_severe_but_never_both() -> None:
    # Quartiles 3 and 7: inner fences -3 and 13, outer fences -9 and 19.
    assert tukey_outliers([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]) == (0, 0)
    samples = [-10.0, *(3.0,) * 5, *(5.0,) * 4, *(7.0,) * 4, 13.0, 14.0, 20.0, 21.0]
    first, third = 3.0, 7.0
    mild = sum((first - 12 <= s < first - 6) or (third + 6 < s <= third + 12) for s in samples)
    severe = sum(s < first - 12 or s > third + 12 for s in samples)
    assert tukey_outliers(samples) == (mild, severe) == (1, 3)


def test_equal_samples_have_no_outliers() -> None:
    assert tukey_outliers([2.0] * 10) == (0, 0)
    assert median_absolute_deviation([2.0] * 10) == 0.0


def test_no_samples_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        tukey_outliers([])
    with pytest.raises(InvalidInputError):
        median_absolute_deviation([])
