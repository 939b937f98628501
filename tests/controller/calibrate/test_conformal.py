"""Intervals hold as many new models as they say, and not many more."""

from __future__ import annotations

import math
import random

import pytest
from edgeloop.calibrate.conformal import conformal_factor, conformal_quantile


@pytest.mark.parametrize("count", [9, 12, 15, 18, 19, 40])
def test_intervals_cover_what_they_say_and_no_more(count: int) -> None:
    covered, draws = 0, 8000
    for seed in range(draws):
        rng = random.Random(seed)
        errors = [rng.gauss(0, 0.1) for _ in range(count)]
        covered += abs(rng.gauss(0, 0.1)) <= math.log(conformal_factor(errors))
    # Ranks taken up to the next whole one cover 92.3 % with 12 errors, 93.75 % with 15 and 94.7 % with 18.
    assert covered / draws == pytest.approx(0.9, abs=0.015)


def test_a_rank_between_two_scores_is_taken_in_proportion() -> None:
    scores = [float(score) for score in range(12, 0, -1)]
    assert conformal_quantile(scores) == pytest.approx(11.7)
    assert conformal_quantile(scores[:9]) == 12.0
    assert conformal_quantile([3.0]) == 3.0


def test_few_errors_widen_their_largest() -> None:
    assert conformal_factor([0.1] * 4) == pytest.approx(math.exp(1.645 * 0.1 * math.sqrt(1.25)))
    with pytest.raises(ValueError, match="needs errors"):
        conformal_factor([])
