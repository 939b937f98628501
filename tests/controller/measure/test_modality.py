from __future__ import annotations

import numpy as np
import pytest
from edgeloop.measure.modality import find_modes

from tests.controller.measure.noise import process


def correlation(values: np.ndarray) -> float:
    ranks = np.argsort(np.argsort(values))
    return float(np.corrcoef(ranks[1:], ranks[:-1])[0, 1])


@pytest.mark.parametrize("count", [64, 300, 2000])
@pytest.mark.parametrize("phi", [0.0, 0.5])
@pytest.mark.parametrize("stalls", [0.0, 0.09])
def test_one_mode_with_a_right_tail_stays_one(count: int, phi: float, stalls: float) -> None:
    rng = np.random.default_rng(23)
    drawn = [process(rng, count, phi=phi, spread=spread) for spread in (0.01, 0.05, 0.2) for _ in range(40)]
    two = sum(len(find_modes(values, correlation(values))) > 1 for values in drawn)
    assert two <= 0.05 * len(drawn) + 2


def test_other_shapes_with_one_mode_stay_one() -> None:
    rng = np.random.default_rng(29)
    shapes = [1.0 + 0.1 * rng.exponential(size=500) for _ in range(60)]
    shapes += [1.0 + 0.1 * rng.random(500) for _ in range(60)]
    assert sum(len(find_modes(values)) > 1 for values in shapes) <= 8


@pytest.mark.parametrize(("count", "spread"), [(100, 0.01), (100, 0.03), (300, 0.05), (1000, 0.05)])
def test_a_fifth_at_one_point_three_is_found_with_its_share(count: int, spread: float) -> None:
    rng = np.random.default_rng(31)
    found = 0
    for _ in range(50):
        values = process(rng, count, phi=0.3, spread=spread, stalls=0.02)
        slower = rng.random(count) < 0.2
        values[slower] *= 1.3
        modes = find_modes(values, correlation(values))
        if len(modes) == 2:
            found += 1
            assert modes[1].share == pytest.approx(0.2, abs=0.12)
            assert modes[1].centre_s / modes[0].centre_s == pytest.approx(1.3, rel=0.1)
    assert found >= 43


def test_a_tenth_is_the_least_and_nothing_is_said_of_few() -> None:
    rng = np.random.default_rng(37)
    values = process(rng, 1000, spread=0.01, stalls=0.0)
    values[:50] *= 1.3
    (mode,) = find_modes(values)
    assert mode.share == 1.0
    assert find_modes(values[:63]) == ()
    assert find_modes(np.zeros(100)) == ()
    assert len(find_modes(np.full(100, 0.002))) == 1
