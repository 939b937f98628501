"""Power rises with cores, clock and width of arithmetic; sensors see their part of it."""

from __future__ import annotations

import dataclasses

import pytest
from edgeloop_profiles import Profile
from edgeloop_profiles.predict import board_power_w, sensor_power_w


def test_published_wall_power_is_met(pi4: Profile, pi5: Profile) -> None:
    assert board_power_w(pi4, busy_threads=0, frequency_hz=1.8e9) == 1.6
    # MLPerf on a Pi 4, four threads: 5.2 to 5.9 W in fp32, 5.3 to 6.4 W in int8.
    assert 5.2 <= board_power_w(pi4, busy_threads=4, frequency_hz=1.8e9) <= 5.9
    assert 5.3 <= board_power_w(pi4, busy_threads=4, frequency_hz=1.8e9, precision="int8") <= 6.4
    assert board_power_w(pi5, busy_threads=4, frequency_hz=2.4e9) == pytest.approx(9.7, rel=0.03)


def test_power_falls_with_the_clock_and_stops_at_the_cores(pi4: Profile) -> None:
    full = board_power_w(pi4, busy_threads=4, frequency_hz=1.8e9)
    assert board_power_w(pi4, busy_threads=99, frequency_hz=1.8e9) == full
    half = board_power_w(pi4, busy_threads=4, frequency_hz=0.9e9)
    assert half - 1.6 == pytest.approx((full - 1.6) / 4)


def test_the_power_management_chip_sees_less_than_the_wall(pi5: Profile) -> None:
    sensor = next(sensor for sensor in pi5.sensors if sensor.quantity == "power")
    seen = sensor_power_w(sensor, 5.75)
    assert 1.1451 * seen + 0.5879 == pytest.approx(5.75, rel=1e-3)
    assert sensor_power_w(sensor, 0.1) == 0.0


def test_only_a_sensor_in_front_of_the_fan_sees_it(pi5: Profile) -> None:
    rails = next(sensor for sensor in pi5.sensors if sensor.name == "pmic")
    assert sensor_power_w(rails, 5.0, 0.9) == sensor_power_w(rails, 5.0)
    wall = dataclasses.replace(rails, scope="wall", gain=1.0, offset_w=0.0, sees_fan=True)
    assert sensor_power_w(wall, 5.0, 0.9) == pytest.approx(5.9)
