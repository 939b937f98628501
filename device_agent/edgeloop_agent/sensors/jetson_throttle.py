"""Software thermal throttling of a Jetson: how often each alert has tripped, and whether it acts now."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import FileSensor, SensorAbsentError, Source

__all__ = ["JetsonThrottle"]

_PLATFORM = "sys/devices/platform"
_DEVICES = "sys/class/thermal"
_SUFFIX = "-throttle-alert"


class JetsonThrottle(FileSensor):
    """Counts "<alert>/events" that only rise, and states "<alert>_now" that are 0 while nothing is throttled.

    The counts are ``/sys/devices/platform/<alert>/thermal_trip_event`` and the states ``cur_state`` of the cooling
    devices whose type ends in ``-throttle-alert`` (NVIDIA Jetson Linux Developer Guide, "Thermal management":
    software throttling). A JetPack without the counters still has the states.
    """

    name: ClassVar[str] = "jetson_throttle"
    quantity: ClassVar[str] = "events"
    unit: ClassVar[str] = "count"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1.0

    def _find(self) -> Sequence[Source]:
        counters = sorted((self._root / _PLATFORM).glob(f"*{_SUFFIX}/thermal_trip_event"))
        sources: list[Source] = [partial(self._one, f"{path.parent.name}/events", path) for path in counters]
        for device in self._children(_DEVICES, "cooling_device"):
            kind = self._label(device / "type")
            if kind.endswith(_SUFFIX):
                sources.append(partial(self._one, f"{kind}_now", device / "cur_state"))
        if not sources:
            raise SensorAbsentError("no throttle alert of a Jetson, neither a counter nor a cooling device")
        return sources

    def _one(self, channel: str, path: Path) -> tuple[Reading]:
        return (self._reading(channel, path, 1.0),)
