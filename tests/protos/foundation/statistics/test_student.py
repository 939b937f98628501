"""Student's t against the published table."""

from __future__ import annotations

import math

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import student_t_interval, student_t_quantile


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    # NIST/SEMATECH e-Handbook 1.3.6.7.2.
    [
        (0.95, 1, 12.706),
        (0.95, 4, 2.776),
        (0.95, 9, 2.262),
        (0.95, 30, 2.042),
        (0.99, 4, 4.604),
        (0.99, 100, 2.626),
        (0.90, 2, 2.920),
        (0.998, 1, 318.313),
    ],
)
def test_quantile_matches_the_table(confidence: float, degrees: int, expected: float) -> None:
    assert student_t_quantile(confidence, degrees) == pytest.approx(
        expected, abs=6e-4 * max(1, expected / 10)
    )


def test_one_degree_is_the_cauchy_distribution() -> None:
    assert student_t_quantile(0.95, 1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)


def test_interval_of_a_known_sample() -> None:
    # Mean 3, standard deviation sqrt(2.5), 4 degrees: half-width 2.776445 * sqrt(0.5).
    mean, low, high = student_t_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.95)
    assert mean == 3.0
    assert (low, high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-6)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_too_few_or_wild_values_are_refused(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="two finite values"):
        student_t_interval(values, 0.95)


def test_zero_degrees_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="degree"):
        student_t_quantile(0.95, 0)
