"""Heat follows the two-mass circuit, and throttling follows the firmware's table."""

from __future__ import annotations

import dataclasses
import math

import pytest
from edgeloop_profiles import Profile
from edgeloop_profiles.predict import ThermalState


def hot(profile: Profile, ambient: float) -> Profile:
    return dataclasses.replace(profile, thermal=dataclasses.replace(profile.thermal, ambient_celsius=ambient))


def run(state: ThermalState, power_w: float, seconds: float, step_s: float) -> None:
    for _ in range(round(seconds / step_s)):
        state.advance(power_w, step_s)


def test_a_cold_board_is_in_equilibrium_at_idle(pi4: Profile) -> None:
    state = ThermalState(pi4)
    before = state.die_celsius
    state.advance(pi4.power.idle_w, 1000)
    assert state.die_celsius == pytest.approx(before)
    assert before == pytest.approx(25 + 1.6 * 6 + 1.6 * 0.75 * 2)


def test_the_exact_step_agrees_with_many_small_ones(pi4: Profile) -> None:
    t, share = pi4.thermal, pi4.power.die_fraction
    state = ThermalState(pi4)
    die, board, dt = state.die_celsius, state.board_celsius, 0.002
    for _ in range(round(60 / dt)):
        flow = (die - board) / t.die_k_per_w
        away = (board - t.ambient_celsius) / t.board_k_per_w
        die += dt * (share * 6 - flow) / t.die_j_per_k
        board += dt * ((1 - share) * 6 + flow - away) / t.board_j_per_k
    state.advance(6, 60)
    assert (state.die_celsius, state.board_celsius) == pytest.approx((die, board), abs=0.01)


def test_steps_compose(pi5: Profile) -> None:
    one, many = ThermalState(pi5), ThermalState(pi5)
    one.advance(9.0, 40)
    run(many, 9.0, 40, 0.5)
    assert one.die_celsius == pytest.approx(many.die_celsius)


def test_throttling_starts_at_the_analytic_time(pi4: Profile) -> None:
    """With the die's mass almost gone, one mass is left, whose time to a temperature is a logarithm."""
    thermal = dataclasses.replace(pi4.thermal, die_j_per_k=1e-3, ambient_celsius=40.0)
    profile = dataclasses.replace(pi4, thermal=thermal)
    state, power_w, idle_w = ThermalState(profile), 8.0, pi4.power.idle_w
    above_board = power_w * pi4.power.die_fraction * thermal.die_k_per_w
    start, end = 40 + idle_w * 6, 40 + power_w * 6
    limit = profile.throttle.steps[0].temperature_celsius - above_board
    expected_s = -thermal.board_j_per_k * 6 * math.log((end - limit) / (end - start))
    elapsed = 0.0
    while not state.throttled:
        state.advance(power_w, 0.1)
        elapsed += 0.1
        assert elapsed < 3600
    assert elapsed == pytest.approx(expected_s, rel=0.02)


def test_throttling_has_steps_and_hysteresis(pi4: Profile) -> None:
    state = ThermalState(hot(pi4, 60.0))
    assert state.frequency_hz == 1.8e9
    seen = []
    for _ in range(4000):
        state.advance(5.0, 0.5)
        seen.append(state.frequency_hz)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {1.8e9, 1.5e9, 1.2e9, 1.0e9, 0.6e9}
    while state.die_celsius > 82.5:
        state.advance(1.6, 0.5)
    assert state.frequency_hz == 0.6e9, "85 degrees less 3 kelvin has not been passed"
    while state.die_celsius > 76.9:
        state.advance(1.6, 0.5)
    assert not state.throttled


def test_a_long_load_with_the_policy_settles_between_the_steps(pi4: Profile) -> None:
    from edgeloop_profiles.predict import board_power_w

    profile = hot(pi4, 50.0)
    state = ThermalState(profile)
    for _ in range(6000):
        power = board_power_w(profile, busy_threads=4, frequency_hz=state.frequency_hz)
        state.advance(power, 0.5)
    assert 76 < state.die_celsius < 85
    assert state.throttle_count >= 1
