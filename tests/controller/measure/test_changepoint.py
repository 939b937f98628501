from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from edgeloop.measure.changepoint import PENALTY, changepoints, long_run_variance

from tests.controller.measure.noise import autoregressive


def optimal(values: np.ndarray, penalty: float) -> tuple[int, ...]:
    """Every segmentation into pieces of two and more, tried out."""
    best: tuple[float, tuple[int, ...]] = (math.inf, ())
    count = len(values)
    for number in range(4):
        for cuts in itertools.combinations(range(2, count - 1), number):
            edges = [0, *cuts, count]
            if any(end - begin < 2 for begin, end in itertools.pairwise(edges)):
                continue
            cost = sum(float(np.sum((p - p.mean()) ** 2)) for p in np.split(values, list(cuts)))
            best = min(best, (cost + penalty * number, cuts))
    return best[1]


@pytest.mark.parametrize("seed", range(12))
def test_pruning_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(16)
    values[5 + seed % 4 :] += rng.uniform(-4, 4)
    values[11:] += rng.uniform(-4, 4)
    assert changepoints(values.tolist(), penalty=6.0) == optimal(values, 6.0)


@pytest.mark.parametrize("count", [20, 40])
@pytest.mark.parametrize("phi", [0.0, 0.3, 0.5])
def test_flat_series_have_few_changes_and_steps_are_found(count: int, phi: float) -> None:
    rng = np.random.default_rng(17)
    flat = [autoregressive(rng, count, phi) for _ in range(150)]
    false = sum(bool(changepoints(series.tolist())) for series in flat)
    assert false <= 0.05 * len(flat) + 6
    step = np.where(np.arange(count) < count // 2, 0.0, 6.0)
    found = sum(bool(changepoints((series + step).tolist())) for series in flat)
    assert found >= 0.87 * len(flat)


def test_a_penalty_for_independent_series_finds_changes_in_hanging_ones() -> None:
    """Why the variance is raised: the usual 2 log n takes neighbours that hang together for levels."""
    rng = np.random.default_rng(3)
    flat = [autoregressive(rng, 60, 0.6) for _ in range(100)]
    usual = sum(bool(changepoints(series.tolist(), penalty=2.0 * math.log(60))) for series in flat)
    ours = sum(bool(changepoints(series.tolist())) for series in flat)
    assert usual > 40
    assert ours <= 15


def test_the_variance_is_that_of_the_noise_not_of_the_levels() -> None:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(400)
    step = np.where(np.arange(400) < 200, 0.0, 50.0)
    assert long_run_variance(noise + step) == pytest.approx(long_run_variance(noise), rel=0.1)
    assert long_run_variance(autoregressive(rng, 4000, 0.5)) == pytest.approx(3.0, rel=0.4)


def test_a_clock_with_few_ticks_and_short_series() -> None:
    assert changepoints([1.0] * 30) == ()
    assert changepoints([1.0] * 15 + [2.0] * 15) == (15,)
    assert changepoints([1.0, 2.0, 3.0]) == ()
    assert PENALTY > 2.0
