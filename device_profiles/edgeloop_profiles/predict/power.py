"""Electrical power of the board, and what its sensors see of it."""

from __future__ import annotations

from edgeloop_profiles.profile import Profile, Sensor

__all__ = ["board_power_w", "sensor_power_w"]


def board_power_w(
    profile: Profile, *, busy_threads: int, frequency_hz: float, precision: str = "fp32"
) -> float:
    """Return the power of the whole board without its fan, in watt, with this many threads busy; 0 is idle."""
    power = profile.power
    cores = min(busy_threads, profile.processor.physical_cores)
    relative: float = (frequency_hz / profile.processor.max_frequency_hz) ** power.frequency_exponent
    kind = power.int8_factor if precision == "int8" else 1.0
    return power.idle_w + power.core_w * cores * relative * kind


def sensor_power_w(sensor: Sensor, board_w: float, fan_w: float = 0.0) -> float:
    """Return what a power or energy sensor sees of the board's power and the fan's, in watt; never below zero."""
    seen_w = board_w + fan_w if sensor.sees_fan else board_w
    return max(0.0, sensor.gain * seen_w + sensor.offset_w)
