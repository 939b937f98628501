"""Temperatures of the kernel's thermal zones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import FileSensor, SensorAbsentError, Source

__all__ = ["CONSTANT_ZONES", "Thermal", "name_zones"]

_ZONES = "sys/class/thermal"
_MILLI = 1e-3
CONSTANT_ZONES = frozenset({"PMIC-Die"})
"""Zones of Jetsons that show a constant instead of a temperature."""
_OFF_CELSIUS = -100.0
"""Drivers report -274 or -256 degrees for a zone that is switched off, and no board works below this."""


class Thermal(FileSensor):
    """``/sys/class/thermal/thermal_zone*/temp``, in millidegrees there.

    A zone that cannot be read (on some Jetsons those of engines that are off) gives the reason.
    """

    name: ClassVar[str] = "thermal"
    quantity: ClassVar[str] = "temperature"
    unit: ClassVar[str] = "celsius"
    scope: ClassVar[str] = "board"
    resolution: ClassVar[float | None] = 0.001

    def _find(self) -> Sequence[Source]:
        zones = self._children(_ZONES, "thermal_zone")
        if not zones:
            raise SensorAbsentError(f"no thermal zone under /{_ZONES}")
        kinds = [self._label(zone / "type") or zone.name for zone in zones]
        return [
            partial(self._zone, name, zone)
            for name, kind, zone in zip(name_zones(kinds, zones), kinds, zones, strict=True)
            if kind not in CONSTANT_ZONES
        ]

    def _zone(self, name: str, zone: Path) -> tuple[Reading]:
        path = zone / "temp"
        reading = self._reading(name, path, _MILLI)
        if reading.value is not None and reading.value <= _OFF_CELSIUS:
            reason = f"failed: {reading.value} degrees is what a zone shows that is switched off"
            return (self._missing(name, path, reason),)
        return (reading,)


def name_zones(kinds: Sequence[str], zones: Sequence[Path]) -> list[str]:
    """Return a name for every zone: its type, and the zone's number where several have the same."""
    repeated = {kind for kind, count in Counter(kinds).items() if count > 1}
    return [
        f"{kind}-{zone.name.removeprefix('thermal_zone')}" if kind in repeated else kind
        for kind, zone in zip(kinds, zones, strict=True)
    ]
