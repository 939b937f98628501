"""A chip shows its part of the power, late and held as it is declared, and its counter wraps."""

from __future__ import annotations

import dataclasses
import math
import statistics

import pytest
from edgeloop_agent.simulate.clock import SimulatedJobClock
from edgeloop_agent.simulate.power_chip import PowerChip
from edgeloop_agent.simulate.state import BoardState
from edgeloop_profiles import load_profile
from edgeloop_profiles.profile import Sensor


def declared(**fields: object) -> Sensor:
    words = {"kind": "assumed", "source": "test", "name": "rapl", "quantity": "energy", "unit": "joule"}
    return Sensor(scope="package", channels=("0/package-0", "0:0/core"), **words, **fields)  # type: ignore[arg-type]


def test_channels_have_their_shares_of_what_the_scope_covers() -> None:
    chip = PowerChip(declared(gain=0.5, offset_w=-1.0, shares=(1.0, 0.25)), 8.0, 2.0, "1")
    assert (chip.power_w(0), chip.power_w(1)) == (3.0, 0.75)
    chip.follow(8.0, 2.0, 10.0)
    assert chip.energy_j == pytest.approx(30.0)
    wall = PowerChip(declared(sees_fan=True), 8.0, 2.0, "1")
    assert wall.power_w(0) == 10.0


def test_a_lag_is_of_first_order_whatever_the_steps() -> None:
    one, many = (PowerChip(declared(lag_s=4.0), 2.0, 0.0, "1") for _ in range(2))
    one.follow(6.0, 0.0, 4.0)
    for _ in range(400):
        many.follow(6.0, 0.0, 0.01)
    assert one.power_w(0) == pytest.approx(6.0 - 4.0 / math.e)
    assert many.power_w(0) == pytest.approx(one.power_w(0))
    assert one.energy_j == pytest.approx(24.0), "a counter misses nothing"


def test_a_counter_has_a_unit_a_range_and_a_place_to_start() -> None:
    chip = PowerChip(declared(range_j=100.0, resolution=61e-6), 10.0, 0.0, "1")
    other = PowerChip(declared(range_j=100.0, resolution=61e-6), 10.0, 0.0, "2")
    assert chip.range_uj == 100_000_000
    assert 0 <= chip.counter_uj(0) != other.counter_uj(0) < chip.range_uj
    wraps = 0
    for _ in range(35):
        begin = chip.counter_uj(0)
        chip.follow(10.0, 0.0, 1.0)
        after = chip.counter_uj(0)
        wraps += after < begin
        assert (after - begin) % chip.range_uj == pytest.approx(10e6, abs=61)
    assert wraps in (3, 4)
    chip.follow(1e-6, 0.0, 1.0)
    assert chip.counter_uj(0) == after, "less than one unit is not shown"


def test_a_held_value_is_the_one_of_the_last_update() -> None:
    profile = load_profile("raspberry_pi_5")
    plug = declared(period_s=1.0, lag_s=0.5)
    plug = dataclasses.replace(plug, name="shelly", quantity="power", unit="watt")
    clock = SimulatedJobClock()
    state = BoardState(dataclasses.replace(profile, sensors=(plug,)), clock)
    chip, seen = state.chips["shelly"], []
    look = state.every(0.25, lambda: seen.append((clock.monotonic_ns(), chip.power_w(0))))
    state.advance(3.1, 4, "fp32")
    assert [time_ns / 1e9 for time_ns, _ in seen] == pytest.approx([0.25 * n for n in range(1, 13)])
    values = [value for _, value in seen]
    assert len(set(values[0:3])) == len(set(values[3:7])) == len(set(values[7:11])) == 1
    assert values[0] < values[3] < values[7]
    state.cancel(look)
    state.cancel(look)
    state.advance(1.0, 0, "fp32")
    assert len(seen) == 12


def test_what_is_held_for_less_than_anybody_asks_is_of_the_moment() -> None:
    chip = PowerChip(declared(period_s=0.001), 2.0, 0.0, "1")
    chip.follow(6.0, 0.0, 0.0)
    assert (chip.period_ns, chip.power_w(0)) == (0, 6.0)


def test_every_update_has_a_noise_of_its_own_and_the_mean_is_right() -> None:
    chip, again = (PowerChip(declared(period_s=0.1, noise_fraction=0.03), 2.0, 0.0, "1") for _ in range(2))
    shown = []
    for _ in range(2000):
        chip.update()
        again.update()
        assert chip.power_w(0) == chip.power_w(0) == again.power_w(0)
        shown.append(chip.power_w(0))
    assert statistics.fmean(shown) == pytest.approx(2.0, rel=0.003)
    assert statistics.stdev(shown) == pytest.approx(0.06, rel=0.1)
