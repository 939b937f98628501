"""Heat, clock and energy of one simulated board over its job time."""

from __future__ import annotations

from edgeloop_profiles.predict import ThermalState, board_power_w, sensor_power_w
from edgeloop_profiles.profile import Profile, Sensor
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.simulate.stress import Stress

__all__ = ["BoardState"]

_STEP_S = 0.5
"""Longest time between two looks of the firmware at the temperature; short against a die's time constant."""


class BoardState:
    """What work does to the board; job time drives it, wall time does not."""

    def __init__(self, profile: Profile, stress: Stress | None = None) -> None:
        """Start cold: in equilibrium at idle."""
        self._profile = profile
        self.stress = stress or Stress()
        self._thermal = ThermalState(profile)
        self._power_w = profile.power.idle_w
        self._energy_j: dict[str, float] = {}

    @property
    def frequency_hz(self) -> float:
        """Return the clock that the firmware allows now."""
        return self._thermal.frequency_hz * self.stress.clock_factor

    @property
    def die_celsius(self) -> float:
        """Return the temperature of the die."""
        return self._thermal.die_celsius

    @property
    def throttled(self) -> bool:
        """Return whether the clock is capped now."""
        return self._thermal.throttled or self.stress.clock_factor < 1

    def advance(self, seconds: float, busy_threads: int, precision: str) -> None:
        """Let job time pass with this many threads busy; 0 is idle."""
        while seconds > 0:
            step = min(seconds, _STEP_S)
            self._power_w = board_power_w(
                self._profile,
                busy_threads=busy_threads,
                frequency_hz=self.frequency_hz,
                precision=precision,
            )
            self._thermal.advance(self._power_w, step)
            for sensor in self._profile.sensors:
                if sensor.quantity == "energy":
                    spent = sensor_power_w(sensor, self._power_w) * step
                    self._energy_j[sensor.name] = self._energy_j.get(sensor.name, 0.0) + spent
            seconds -= step

    def rest(self) -> None:
        """Let the load end: from here on sensors see the board idle, as warm as it is."""
        self._power_w = self._profile.power.idle_w

    def readings(self) -> tuple[Reading, ...]:
        """Return one reading per channel of every sensor that is there, at the sensor's resolution."""
        return tuple(
            Reading(
                name=f"{sensor.name}/{channel}",
                unit=sensor.unit,
                value=_quantised(self._value(sensor, channel), sensor.resolution),
                source=f"simulated by profile {self._profile.name}",
            )
            for sensor in self._profile.sensors
            if sensor.name not in self.stress.gone_sensors
            for channel in sensor.channels
        )

    def _value(self, sensor: Sensor, channel: str) -> float:
        if sensor.quantity == "temperature":
            return self._thermal.die_celsius
        if sensor.quantity == "frequency":
            return self.frequency_hz
        if sensor.quantity == "power":
            return sensor_power_w(sensor, self._power_w)
        if sensor.quantity == "energy":
            return self._energy_j.get(sensor.name, 0.0)
        return self._events(channel)

    def _events(self, channel: str) -> float:
        # The model knows heat, not the power supply: it never sees the voltage drop.
        if channel.startswith("under_voltage"):
            return 0.0
        if channel.endswith("_now"):
            return float(self.throttled)
        if channel.endswith("_since_boot"):
            return float(self._thermal.throttle_count > 0 or self.throttled)
        return float(self._thermal.throttle_count)


def _quantised(value: float, resolution: float | None) -> float:
    return value if resolution is None else round(value / resolution) * resolution
