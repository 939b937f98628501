"""Coverage of the intervals by simulation against a known truth; the margins are those of the number of trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from edgeloop.measure.bootstrap import (
    block_length,
    correlation_length,
    quantile_estimates,
    ratio_interval,
    tail_level,
)
from edgeloop_foundation.statistics import student_t_interval

from tests.controller.measure.noise import autoregressive, process

LEVELS = (0.5, 0.9, 0.95, 0.99)
TRIALS = 40


def truth(between: float) -> np.ndarray:
    rng = np.random.default_rng(9)
    values = process(rng, 400_000) * np.exp(between * rng.standard_normal(400_000))
    return np.quantile(values, LEVELS)


@pytest.mark.parametrize(
    ("processes", "between", "phi"), [(5, 0.005, 0.6), (5, 0.015, 0.0), (10, 0.015, 0.6)]
)
def test_quantiles_cover_the_truth(processes: int, between: float, phi: float) -> None:
    rng = np.random.default_rng(41)
    hits, known = np.zeros(4), truth(between)
    for _ in range(TRIALS):
        drawn = [process(rng, 200, phi=phi, shift=between * rng.standard_normal()) for _ in range(processes)]
        found = quantile_estimates(drawn, LEVELS, block_length(drawn))
        hits += [
            e.low is not None and e.high is not None and e.low <= t <= e.high
            for e, t in zip(found, known, strict=True)
        ]
    # 90 % of 40, less two standard errors.
    assert hits.min() >= 32, hits


def test_ratios_cover_and_students_interval_is_the_narrower_one() -> None:
    rng = np.random.default_rng(43)
    hits, widths = np.zeros((2, 2)), np.zeros((2, 2))
    for _ in range(TRIALS):
        a, b = [], []
        for _ in range(6):
            common = 0.02 * rng.standard_normal()
            a.append(process(rng, 120, phi=0.4, shift=common + 0.007 * rng.standard_normal()))
            b.append(process(rng, 120, phi=0.4, shift=common + 0.007 * rng.standard_normal() + 0.05))
        for place, level in enumerate((0.5, 0.9)):
            logs = [
                math.log(np.quantile(y, level) / np.quantile(x, level)) for x, y in zip(a, b, strict=True)
            ]
            _, low, high = student_t_interval(logs, 0.95)
            hits[0, place] += low <= 0.05 <= high
            widths[0, place] += high - low
            _, low, high = ratio_interval(a, b, level, block_length([*a, *b]))
            hits[1, place] += low <= math.exp(0.05) <= high
            widths[1, place] += math.log(high / low)
    assert hits.min() >= 34, hits
    assert (widths[0] < widths[1]).all(), widths


def test_processes_count_more_than_samples() -> None:
    """Five times the samples of the same processes do not make the interval much narrower; other processes do."""
    rng = np.random.default_rng(47)

    def width(processes: int, count: int) -> float:
        found = []
        for _ in range(4):
            drawn = [process(rng, count, shift=0.03 * rng.standard_normal()) for _ in range(processes)]
            (median,) = quantile_estimates(drawn, (0.5,), 1)
            assert median.low is not None
            assert median.high is not None
            found.append(math.log(median.high / median.low))
        return sum(found)

    assert width(5, 1000) > 0.6 * width(5, 200)
    assert width(20, 200) < 0.7 * width(5, 200)


def test_tails_below_their_floor_are_absent() -> None:
    rng = np.random.default_rng(53)
    p50, p90, p95, p99 = quantile_estimates([process(rng, 40), process(rng, 40)], LEVELS, 1)
    assert p50.low is not None
    assert p90.value is not None
    assert p95.reason == "p95 needs 130 samples, 80 were taken"
    assert p99.reason == "p99 needs 662 samples, 80 were taken"


def test_the_block_is_as_long_as_samples_hang_together() -> None:
    rng = np.random.default_rng(59)
    assert correlation_length(rng.standard_normal(2000)) <= 2
    # 0.9 ** 22 is 0.098.
    assert 12 <= correlation_length(autoregressive(rng, 20_000, 0.9)) <= 30
    assert correlation_length(np.ones(100)) == 1
    assert tail_level(5) < 0.002 < tail_level(10) < 0.025
