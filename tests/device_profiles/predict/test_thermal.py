"""Heat follows the two-mass circuit, and throttling follows the firmware's table."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from edgeloop_profiles import Profile, list_profiles, load_profile
from edgeloop_profiles.predict import ThermalState
from edgeloop_profiles.profile import ThrottleStep


def hot(profile: Profile, ambient: float) -> Profile:
    return dataclasses.replace(profile, thermal=dataclasses.replace(profile.thermal, ambient_celsius=ambient))


def without_fan(profile: Profile) -> Profile:
    return dataclasses.replace(profile, thermal=dataclasses.replace(profile.thermal, fan=()))


def run(state: ThermalState, power_w: float, seconds: float, step_s: float) -> None:
    for _ in range(round(seconds / step_s)):
        state.advance(power_w, step_s)


@pytest.mark.parametrize("name", list_profiles())
def test_time_constants_are_of_a_die_and_of_a_board(name: str) -> None:
    """Seconds and minutes: 5 to 20 s and 3 to 10 min are what boards show, give or take a half."""
    thermal = load_profile(name).thermal
    assert 2 <= thermal.die_j_per_k * thermal.die_k_per_w <= 30
    assert 60 <= thermal.board_j_per_k * thermal.board_k_per_w <= 900


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
    profile = without_fan(pi5)
    one, many = ThermalState(profile), ThermalState(profile)
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


def two_masses(profile: Profile, power_w: float, seconds: float) -> float:
    """Return the die's temperature by the eigenvalues of the circuit, from equilibrium at idle."""
    t, share = profile.thermal, profile.power.die_fraction
    matrix = np.array(
        [
            [-1 / (t.die_j_per_k * t.die_k_per_w), 1 / (t.die_j_per_k * t.die_k_per_w)],
            [
                1 / (t.board_j_per_k * t.die_k_per_w),
                -(1 / t.die_k_per_w + 1 / t.board_k_per_w) / t.board_j_per_k,
            ],
        ]
    )

    def ends(watt: float) -> np.ndarray:
        heat = np.array([share * watt / t.die_j_per_k, (1 - share) * watt / t.board_j_per_k])
        heat[1] += t.ambient_celsius / (t.board_k_per_w * t.board_j_per_k)
        return np.asarray(np.linalg.solve(-matrix, heat))

    values, vectors = np.linalg.eig(matrix)
    begin = np.linalg.solve(vectors, ends(profile.power.idle_w) - ends(power_w))
    return float((ends(power_w) + vectors @ (np.exp(values * seconds) * begin))[0])


@pytest.mark.parametrize(("power_w", "ambient"), [(6.5, 35.0), (8.0, 45.0), (11.0, 25.0)])
def test_time_to_throttle_is_that_of_the_two_mass_circuit(
    pi4: Profile, power_w: float, ambient: float
) -> None:
    profile = hot(pi4, ambient)
    limit = profile.throttle.steps[0].temperature_celsius
    low, high = 0.0, 20_000.0
    assert two_masses(profile, power_w, high) > limit > two_masses(profile, power_w, low)
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if two_masses(profile, power_w, middle) < limit else (low, middle)
    state, elapsed = ThermalState(profile), 0.0
    while not state.throttled:
        state.advance(power_w, 0.5)
        elapsed += 0.5
    assert low < elapsed <= high + 0.5


def test_what_goes_in_is_stored_or_has_left(pi5: Profile) -> None:
    """Energy is conserved whatever fan and firmware do."""
    state, t = ThermalState(pi5), pi5.thermal
    begin, put_in, left = (state.die_celsius, state.board_celsius), 0.0, 0.0
    for index in range(60_000):
        power_w = 11.0 if index % 20_000 < 12_000 else 2.8
        before, resistance = state.board_celsius, state.board_k_per_w
        state.advance(power_w, 0.02)
        put_in += power_w * 0.02
        left += ((before + state.board_celsius) / 2 - t.ambient_celsius) / resistance * 0.02
    stored = t.die_j_per_k * (state.die_celsius - begin[0]) + t.board_j_per_k * (
        state.board_celsius - begin[1]
    )
    assert put_in == pytest.approx(stored + left, rel=1e-5)


def test_the_fan_of_a_pi_5_has_steps_hysteresis_and_power(pi5: Profile) -> None:
    state, reached = ThermalState(pi5), {}
    assert (state.fan_level, state.fan_power_w) == (0, 0.0)
    for _ in range(20_000):
        before = state.fan_level
        state.advance(24.0, 0.1)
        if state.fan_level > before:
            reached[state.fan_level] = state.die_celsius
    assert [round(celsius) for celsius in reached.values()] == [50, 60, 68, 75]
    assert state.fan_power_w == pi5.thermal.fan[-1].power_w
    slowed = {}
    while state.fan_level:
        before = state.fan_level
        state.advance(1.0, 0.1)
        if state.fan_level < before:
            slowed[before] = state.die_celsius
    assert [round(celsius, 0) for celsius in slowed.values()] == [70, 62, 55, 45]


def test_the_fan_keeps_a_loaded_pi_5_where_it_was_seen(pi5: Profile) -> None:
    """A published log with the active cooler (sbc-bench Au3jaA) shows 55.6 degrees under load."""
    state = ThermalState(pi5)
    assert 40 < state.die_celsius < 50
    run(state, 9.7, 1800, 0.5)
    assert 50 < state.die_celsius < 65
    assert not state.throttled
    still = ThermalState(without_fan(pi5))
    run(still, 9.7, 1800, 0.5)
    assert still.throttled, "without the fan it is too much"


def test_a_soft_limit_at_60_degrees_gives_a_longer_sprint(pi4: Profile) -> None:
    """The policy of a Raspberry Pi 3B+: 1.4 to 1.2 GHz at 60 degrees, then 80 to 85 as all others."""
    steps = (ThrottleStep(temperature_celsius=60.0, frequency_hz=1.2e9), *pi4.throttle.steps)
    throttle = dataclasses.replace(
        pi4.throttle, steps=(steps[0], ThrottleStep(temperature_celsius=85.0, frequency_hz=0.6e9))
    )
    state = ThermalState(dataclasses.replace(pi4, throttle=throttle))
    while state.die_celsius < 60.0:
        assert state.frequency_hz == 1.8e9
        state.advance(8.0, 0.1)
    assert state.frequency_hz == 1.2e9
    assert state.cap == steps[0]
    while state.die_celsius > 57.01:
        assert state.frequency_hz == 1.2e9, "not before it has cooled by the hysteresis"
        state.advance(1.6, 0.1)


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
