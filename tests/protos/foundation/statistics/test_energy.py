"""Energy integration."""

from __future__ import annotations

import math

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import integrate_between, integrate_energy, interpolate


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


RAMP_NS, RAMP_W = [0, 1_000_000_000, 3_000_000_000], [0.0, 2.0, 6.0]


def test_a_stretch_of_a_ramp_is_cut_at_both_ends() -> None:
    # Power is twice the time: the integral from 0.5 s to 2.5 s is 2.5^2 - 0.5^2.
    assert integrate_between(RAMP_NS, RAMP_W, 500_000_000, 2_500_000_000) == pytest.approx(6.0)
    assert integrate_between(RAMP_NS, RAMP_W, 0, 3_000_000_000) == pytest.approx(9.0)
    assert integrate_between(RAMP_NS, RAMP_W, 1_200_000_000, 1_300_000_000) == pytest.approx(0.25)


def test_a_value_between_two_readings_lies_on_their_line() -> None:
    assert interpolate(RAMP_NS, RAMP_W, 2_000_000_000) == pytest.approx(4.0)
    assert interpolate(RAMP_NS, RAMP_W, 1_000_000_000) == 2.0


@pytest.mark.parametrize(("start_ns", "end_ns"), [(-1, 5), (5, 3_000_000_001), (7, 7), (9, 8)])
def test_a_stretch_that_was_not_read_is_refused(start_ns: int, end_ns: int) -> None:
    with pytest.raises(InvalidInputError):
        integrate_between(RAMP_NS, RAMP_W, start_ns, end_ns)
