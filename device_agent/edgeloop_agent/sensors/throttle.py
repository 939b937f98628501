"""Evidence of throttling: counters on x86, flags of the firmware on a Raspberry Pi."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import Sensor, SensorAbsentError, SensorFailedError, SensorUnsupportedError

__all__ = ["Throttle"]

_CPUS = "sys/devices/system/cpu"
_COUNTERS = ("core_throttle_count", "package_throttle_count")
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_BITS = (
    (0, "under_voltage_now"),
    (1, "frequency_capped_now"),
    (2, "throttled_now"),
    (3, "soft_temperature_limit_now"),
    (16, "under_voltage_since_boot"),
    (17, "frequency_capped_since_boot"),
    (18, "throttled_since_boot"),
    (19, "soft_temperature_limit_since_boot"),
)


class Throttle(Sensor):
    """Counts that only rise, or flags that are 0 or 1; compare before and after.

    The flags "since boot" stay set: when one is set before a run, nothing more can be told from it.
    """

    name: ClassVar[str] = "throttle"
    quantity: ClassVar[str] = "events"
    unit: ClassVar[str] = "count"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1.0

    def _readings(self) -> tuple[Reading, ...]:
        firmware = self._root / _FIRMWARE
        if firmware.exists():
            return self._flags(firmware)
        if list((self._root / _CPUS).glob("cpu[0-9]*/thermal_throttle")):
            return tuple(self._sum(counter) for counter in _COUNTERS)
        raise SensorAbsentError("neither thermal_throttle counters of x86 nor the firmware's get_throttled")

    def _flags(self, path: Path) -> tuple[Reading, ...]:
        text = self._text(path)
        try:
            # The kernel prints the bits in hexadecimal, with or without 0x.
            bits = int(text, 16)
        except ValueError as error:
            raise SensorUnsupportedError(f"/{_FIRMWARE} holds {text[:40]!r}, no bits") from error
        return tuple(
            Reading(
                name=f"{self.name}/{name}",
                unit=self.unit,
                value=float(bits >> bit & 1),
                source=f"/{_FIRMWARE}",
            )
            for bit, name in _BITS
        )

    def _sum(self, counter: str) -> Reading:
        """Add one counter over all processors; siblings count the same event: only a change counts."""
        source = self._root / _CPUS
        try:
            numbers = [
                self._number(path) for path in sorted(source.glob(f"cpu[0-9]*/thermal_throttle/{counter}"))
            ]
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            return self._missing(counter, source, f"failed: {error}")
        if not numbers:
            return self._missing(counter, source, f"absent: no {counter}")
        return Reading(
            name=f"{self.name}/{counter}",
            unit=self.unit,
            value=float(sum(numbers)),
            source=self._source(source),
        )
