"""Sensors, one file each, on an injected root; a new board is a recorded tree, not code.

Law: standard library only. Values leave a driver in SI units. A sensor that is not there, one that this
driver cannot use and one that failed are three different answers, and none of them is a number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeloop_foundation.errors import NotFoundError
from edgeloop_foundation.registry import Registry
from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.power.sampler import SensorReader
from edgeloop_agent.sensors.base import Sensor

__all__ = ["BUILTIN", "SENSORS", "SensorSet"]

BUILTIN = {
    "thermal": "edgeloop_agent.sensors.thermal:Thermal",
    "trip_points": "edgeloop_agent.sensors.trip_points:TripPoints",
    "cpufreq": "edgeloop_agent.sensors.cpufreq:CpuFrequency",
    "time_in_state": "edgeloop_agent.sensors.time_in_state:TimeInState",
    "throttle": "edgeloop_agent.sensors.throttle:Throttle",
    "rapl": "edgeloop_agent.sensors.rapl:Rapl",
    "ina2xx": "edgeloop_agent.sensors.ina2xx:Ina2xx",
    "ina3221": "edgeloop_agent.sensors.ina3221:Ina3221",
    "pmic": "edgeloop_agent.sensors.pmic:Pmic",
    "power_supply": "edgeloop_agent.sensors.power_supply:PowerSupply",
    "jetson_power": "edgeloop_agent.sensors.jetson_power:JetsonPower",
    "jetson_throttle": "edgeloop_agent.sensors.jetson_throttle:JetsonThrottle",
    "overcurrent": "edgeloop_agent.sensors.overcurrent:Overcurrent",
    "nvpmodel": "edgeloop_agent.sensors.nvpmodel:Nvpmodel",
    "devfreq": "edgeloop_agent.sensors.devfreq:Devfreq",
    "devfreq_load": "edgeloop_agent.sensors.devfreq_load:DevfreqLoad",
    "nvml_power": "edgeloop_agent.sensors.nvml_power:NvmlPower",
    "nvml_clock": "edgeloop_agent.sensors.nvml_clock:NvmlClock",
    "nvml_throttle": "edgeloop_agent.sensors.nvml_throttle:NvmlThrottle",
}
"""Name to driver of every built-in sensor."""

SENSORS: Registry[Sensor] = Registry("sensors", BUILTIN)
"""Every sensor that this agent knows, plug-ins included."""


class SensorSet:
    """One instance of every sensor; keeps what has to be kept between readings, such as wrapped counters.

    Threads read one after the other: a counter that is read by one and taken in after another's later reading
    would look as if it had wrapped.

    Args:
        root: where ``/proc`` and ``/sys`` are.
        now_ns: the board's monotonic clock.
        names: of the drivers; all that are known when not given.
    """

    def __init__(
        self,
        root: Path,
        now_ns: Callable[[], int] = time.monotonic_ns,
        names: Sequence[str] | None = None,
    ) -> None:
        wanted = SENSORS.names() if names is None else names
        self._sensors = [SENSORS.load(name)(root, now_ns) for name in wanted]
        self._lock = threading.Lock()

    def driver(self, name: str) -> Sensor:
        """Return one sensor for what it offers besides readings, for example the residency of ``time_in_state``.

        Raises:
            NotFoundError: no sensor of that name.
        """
        for sensor in self._sensors:
            if sensor.name == name:
                return sensor
        raise NotFoundError(f"no sensor {name!r}; known are {', '.join(s.name for s in self._sensors)}.")

    def probe(self) -> tuple[SensorFacts, ...]:
        """Return what each sensor is, present and absent."""
        with self._lock:
            return tuple(sensor.probe() for sensor in self._sensors)

    def read(self) -> tuple[Reading, ...]:
        """Read every sensor once; takes milliseconds."""
        with self._lock:
            return tuple(reading for sensor in self._sensors for reading in sensor.read())

    def attach(self, sensors: Sequence[Sensor]) -> None:
        """Add sensors that no root tells of, such as external meters; they are probed and read like all others."""
        with self._lock:
            self._sensors.extend(sensors)

    def reader(self, name: str, now_ns: Callable[[], int]) -> SensorReader:
        """Return one sensor alone, for a sampler.

        Raises:
            NotFoundError: no sensor of that name.
        """
        found = next((sensor for sensor in self._sensors if sensor.name == name), None)
        if found is None:
            known = ", ".join(sensor.name for sensor in self._sensors)
            raise NotFoundError(f"unknown sensor {name!r}; known are {known}.")
        sensor = found

        def read() -> tuple[Reading, ...]:
            with self._lock:
                return sensor.read()

        return SensorReader(
            read=read,
            now_ns=now_ns,
            # Few drivers count wraps, and few wait for something that is not on the board.
            wrap_count=lambda: int(getattr(sensor, "wrap_count", 0)),
            waits_outside=bool(getattr(sensor, "waits_outside", False)),
        )
