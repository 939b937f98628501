"""Energy counters of x86 processors (RAPL) through powercap."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import Sensor, SensorAbsentError, SensorFailedError, SensorUnsupportedError

__all__ = ["Rapl"]

_ZONES = "sys/class/powercap"
_MICRO = 1e-6


class Rapl(Sensor):
    """``intel-rapl:*/energy_uj``; values count up from the first reading and go on across the counter's wrap.

    A reading at least every few minutes is needed: at 28 W a counter may wrap within 39 minutes.
    """

    name: ClassVar[str] = "rapl"
    quantity: ClassVar[str] = "energy"
    unit: ClassVar[str] = "joule"
    scope: ClassVar[str] = "package"
    period_s: ClassVar[float | None] = 0.001
    resolution: ClassVar[float | None] = 61e-6

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._last_uj: dict[str, int] = {}
        self._total_uj: dict[str, int] = {}

    def _readings(self) -> tuple[Reading, ...]:
        zones = sorted((self._root / _ZONES).glob("intel-rapl:*"))
        if not zones:
            raise SensorAbsentError(f"no intel-rapl zone under /{_ZONES}")
        return tuple(self._zone(zone) for zone in zones)

    def _zone(self, zone: Path) -> Reading:
        path = zone / "energy_uj"
        # Zones of several sockets share names such as "core"; the index keeps them apart.
        channel = zone.name.removeprefix("intel-rapl:")
        try:
            channel = f"{channel}/{self._text(zone / 'name')}"
            total = self._unwrap(zone)
        except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
            return self._missing(channel, path, self._advice(error))
        return Reading(
            name=f"{self.name}/{channel}", unit=self.unit, value=total * _MICRO, source=self._source(path)
        )

    def _unwrap(self, zone: Path) -> int:
        now = self._number(zone / "energy_uj")
        last = self._last_uj.get(zone.name, now)
        step = now - last
        if step < 0:
            step += self._number(zone / "max_energy_range_uj")
        self._last_uj[zone.name] = now
        self._total_uj[zone.name] = self._total_uj.get(zone.name, 0) + step
        return self._total_uj[zone.name]

    def _advice(self, error: Exception) -> str:
        reason = f"failed: {error}"
        if "Permission denied" in reason:
            return f"{reason}; energy counters are root's, a udev rule may give them to the agent's group"
        return reason
