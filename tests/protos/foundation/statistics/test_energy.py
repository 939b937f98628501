"""Energy integration."""

from __future__ import annotations

import math

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import integrate_energy


def test_constant_power_times_duration() -> None:
    assert integrate_energy([0, 500_000_000, 2_000_000_000], [5.0, 5.0, 5.0]) == pytest.approx(10.0)


def test_a_ramp_is_exact_at_uneven_times() -> None:
    times_s = [0.0, 0.1, 0.7, 1.0]
    found = integrate_energy([round(t * 1e9) for t in times_s], [3 * t for t in times_s])
    assert found == pytest.approx(1.5)


def test_large_time_stamps_lose_nothing() -> None:
    start = 1_700_000_000_000_000_000
    assert integrate_energy([start, start + 1_000_000], [2.0, 2.0]) == pytest.approx(0.002, rel=1e-12)


@pytest.mark.parametrize(
    ("times_ns", "powers_w"),
    [([0], [1.0]), ([0, 1], [1.0]), ([2, 1], [1.0, 1.0]), ([0, 1], [1.0, math.nan]), ([], [])],
)
def test_readings_that_mean_nothing_are_refused(times_ns: list[int], powers_w: list[float]) -> None:
    with pytest.raises(InvalidInputError):
        integrate_energy(times_ns, powers_w)
