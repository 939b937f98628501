"""Counters and chips of power that any board may have: RAPL, INA2xx, INA3221, batteries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edgeloop_profiles.profile import Profile, Sensor

from edgeloop_agent.simulate.files.text import Files, constant, number, required
from edgeloop_agent.simulate.power_chip import PowerChip
from edgeloop_agent.simulate.state import BoardState

__all__ = ["ina2xx", "ina3221", "ina3221_chip", "power_of", "power_supply", "rapl"]

_ZONES = "sys/class/powercap"
_HWMON = "sys/class/hwmon/hwmon1"
_SUPPLIES = "sys/class/power_supply"
_MICRO, _MILLI = 1e6, 1e3
_BUS_STEP_MV = 8.0
_SHUNT_STEP_V = 40e-6
"""Both of 13 bits with sign of an INA3221 (TI data sheet SBOS576)."""


def rapl(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return one zone per channel "<index>/<name>", with counters that wrap at the declared range."""
    chip = state.chips[sensor.name]
    required(profile, sensor, "range_j", sensor.range_j)
    files: Files = {}
    for index, channel in enumerate(sensor.channels):
        zone, _, name = channel.partition("/")
        directory = f"{_ZONES}/intel-rapl:{zone}"
        files[f"{directory}/name"] = constant(f"{name}\n")
        files[f"{directory}/max_energy_range_uj"] = constant(f"{chip.range_uj}\n")
        files[f"{directory}/energy_uj"] = partial(_counter, chip, index)
    return files


def ina2xx(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return one chip per channel, with its power in microwatt."""
    files: Files = {}
    for index, channel in enumerate(sensor.channels):
        directory = f"sys/class/hwmon/hwmon{index + 1}"
        step = max(1.0, (sensor.resolution or 0.0) * _MICRO)
        files[f"{directory}/name"] = constant("ina226\n")
        files[f"{directory}/label"] = constant(f"{channel}\n")
        files[f"{directory}/power1_input"] = number(power_of(state, sensor, index), _MICRO, step)
    return files


def ina3221(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return a chip of up to three rails."""
    return ina3221_chip(profile, sensor, state, sensor.path or _HWMON)


def ina3221_chip(profile: Profile, sensor: Sensor, state: BoardState, directory: str) -> Files:
    """Return a hwmon chip: millivolts and milliamperes in the steps of its converter, never a power."""
    shunt_ohm = required(profile, sensor, "shunt_ohm", sensor.shunt_ohm)
    volts = required(profile, sensor, "volts", sensor.volts)
    files: Files = {f"{directory}/name": constant("ina3221\n")}
    for index, channel in enumerate(sensor.channels):
        power, bus_v, place = power_of(state, sensor, index), volts[index], index + 1
        files[f"{directory}/in{place}_label"] = constant(f"{channel}\n")
        files[f"{directory}/in{place}_input"] = number(partial(float, bus_v), _MILLI, _BUS_STEP_MV)
        files[f"{directory}/curr{place}_input"] = number(
            partial(_current, power, bus_v), _MILLI, _SHUNT_STEP_V / shunt_ohm * _MILLI
        )
        files[f"{directory}/shunt{place}_resistor"] = constant(f"{round(shunt_ohm * _MICRO)}\n")
    return files


def power_supply(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return a battery that gives what the board draws, in microwatt; the channels are "total" and its name."""
    battery = f"{_SUPPLIES}/{sensor.channels[-1]}"
    return {
        f"{battery}/type": constant("Battery\n"),
        f"{battery}/status": constant("Discharging\n"),
        f"{battery}/power_now": number(power_of(state, sensor, 0), _MICRO),
    }


def power_of(state: BoardState, sensor: Sensor, channel: int) -> Callable[[], float]:
    """Return what gives the power of a channel in watt."""
    chip = state.chips[sensor.name]
    return lambda: chip.power_w(channel)


def _counter(chip: PowerChip, channel: int) -> str:
    return f"{chip.counter_uj(channel)}\n"


def _current(power: Callable[[], float], volts: float) -> float:
    return power() / volts
