"""Temperatures of the kernel's thermal zones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import Sensor, SensorAbsentError

__all__ = ["Thermal"]

_ZONES = "sys/class/thermal"
_MILLI = 1e-3
_ABSOLUTE_ZERO_CELSIUS = -273.15


class Thermal(Sensor):
    """``/sys/class/thermal/thermal_zone*/temp``, in millidegrees there."""

    name: ClassVar[str] = "thermal"
    quantity: ClassVar[str] = "temperature"
    unit: ClassVar[str] = "celsius"
    scope: ClassVar[str] = "board"
    resolution: ClassVar[float | None] = 0.001

    def _readings(self) -> tuple[Reading, ...]:
        zones = sorted((self._root / _ZONES).glob("thermal_zone[0-9]*"), key=_index)
        if not zones:
            raise SensorAbsentError(f"no thermal zone under /{_ZONES}")
        names = [self._zone_name(zone) for zone in zones]
        repeated = {name for name, count in Counter(names).items() if count > 1}
        return tuple(
            self._zone(f"{name}-{_index(zone)}" if name in repeated else name, zone)
            for name, zone in zip(names, zones, strict=True)
        )

    def _zone_name(self, zone: Path) -> str:
        try:
            return self._text(zone / "type") or zone.name
        except SensorAbsentError:
            return zone.name

    def _zone(self, name: str, zone: Path) -> Reading:
        path = zone / "temp"
        reading = self._reading(name, path, _MILLI)
        if reading.value is not None and reading.value <= _ABSOLUTE_ZERO_CELSIUS:
            # Drivers report -274000 for a zone that is switched off.
            return self._missing(name, path, f"failed: {reading.value} degrees is below absolute zero")
        return reading


def _index(zone: Path) -> int:
    return int("".join(character for character in zone.name if character.isdigit()))
