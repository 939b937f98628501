"""Thermal zones with trip points, cpufreq, and evidence of throttling."""

from __future__ import annotations

from functools import partial

from edgeloop_profiles.profile import Profile, Sensor

from edgeloop_agent.simulate.files.text import Files, constant, number
from edgeloop_agent.simulate.state import BoardState

__all__ = ["cpufreq", "thermal", "throttle", "time_in_state"]

_ZONES = "sys/class/thermal/thermal_zone"
_CPUS = "sys/devices/system/cpu"
_POLICIES = f"{_CPUS}/cpufreq"
_MILLI, _KILO = 1e3, 1e-3
_TICKS_PER_S = 100


def thermal(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return one zone per channel, all at the temperature of the die and with the same trip points, in millidegrees."""
    step = max(1.0, (sensor.resolution or 0.0) * _MILLI)
    files: Files = {}
    for index, kind in enumerate(sensor.channels):
        files[f"{_ZONES}{index}/type"] = constant(f"{kind}\n")
        files[f"{_ZONES}{index}/temp"] = number(lambda: state.die_celsius, _MILLI, step)
        for trip_index, trip in enumerate(profile.thermal.trips):
            path, temperature = f"{_ZONES}{index}/trip_point_{trip_index}", trip.temperature_celsius
            files[f"{path}_type"] = constant(f"{trip.kind}\n")
            files[f"{path}_temp"] = constant(f"{round(temperature * _MILLI)}\n")
    return files


def cpufreq(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the policies of the channels "<policy>/current" and so on, in kHz, and the switch of an Intel's turbo."""
    highest = profile.processor.max_frequency_hz
    files: Files = {}
    if "Intel" in profile.processor.cpu_model:
        # The highest clock of a profile is that of turbo.
        files[f"{_CPUS}/intel_pstate/no_turbo"] = constant("0\n")
    for policy in _policies(sensor):
        directory = f"{_POLICIES}/{policy}"
        files[f"{directory}/scaling_governor"] = constant(f"{profile.processor.governor}\n")
        files[f"{directory}/scaling_cur_freq"] = number(lambda: state.shown_frequency_hz, _KILO)
        files[f"{directory}/scaling_min_freq"] = number(lambda: state.minimum_hz, _KILO)
        files[f"{directory}/scaling_max_freq"] = constant(f"{round(highest * _KILO)}\n")
    return files


def time_in_state(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the time at every clock since the board was started, in ticks of 10 ms."""

    def table() -> str:
        processor, steps = profile.processor, profile.throttle.steps
        clocks = {processor.min_frequency_hz, processor.max_frequency_hz, *(s.frequency_hz for s in steps)}
        rows = sorted(clocks | set(state.residency_s))
        return "".join(
            f"{round(hz * _KILO)} {int(state.residency_s.get(hz, 0.0) * _TICKS_PER_S)}\n" for hz in rows
        )

    return {f"{_POLICIES}/{policy}/stats/time_in_state": table for policy in _policies(sensor)}


def throttle(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the firmware's bits where a path of its file or command is declared, else the counters of x86."""
    if sensor.path.startswith("commands/"):
        return {sensor.path: lambda: f"throttled={state.throttle_bits:#x}\n"}
    if sensor.path:
        return {sensor.path: lambda: f"{state.throttle_bits:x}\n"}
    files: Files = {}
    # One processor of every core: its siblings would count the same events.
    for core in range(profile.processor.physical_cores):
        directory = f"{_CPUS}/cpu{core}"
        files[f"{directory}/topology/physical_package_id"] = constant("0\n")
        files[f"{directory}/topology/core_id"] = constant(f"{core}\n")
        for counter in sensor.channels:
            files[f"{directory}/thermal_throttle/{counter}"] = partial(_count, state)
    return files


def _count(state: BoardState) -> str:
    return f"{state.throttle_count}\n"


def _policies(sensor: Sensor) -> list[str]:
    return list(dict.fromkeys(channel.partition("/")[0] for channel in sensor.channels))
