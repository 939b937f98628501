"""What a battery gives, as the kernel's power supply class reports it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import (
    FileSensor,
    SensorAbsentError,
    SensorFailedError,
    SensorUnsupportedError,
    Source,
    reason_of,
)

__all__ = ["PowerSupply"]

_SUPPLIES = "sys/class/power_supply"
_MICRO = 1e-6
_GIVES, _TAKES = "Discharging", "Charging"


class PowerSupply(FileSensor):
    """The channel "total" first, then ``power_now`` of every battery, or ``voltage_now`` times ``current_now``.

    Files are in micro units. A battery shows what the board draws only while it discharges: charging, the same file
    holds what flows into it, so there is a reason and no value. Of several batteries the total is the sum of those
    that discharge, as long as none charges. Batteries of attached devices (a mouse) are left out. Mains adapters show
    no power; USB-C ports of the UCSI driver show what was negotiated, not what flows, and are left out too.

    The period is that at which the ACPI battery driver asks the firmware, 1 s; the battery's own gauge may be
    slower and trail by many seconds. Nobody states an error.
    """

    name: ClassVar[str] = "power_supply"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "board"
    period_s: ClassVar[float | None] = 1.0

    def _find(self) -> Sequence[Source]:
        try:
            supplies = sorted((self._root / _SUPPLIES).iterdir())
        except OSError:
            supplies = []
        batteries = [supply for supply in supplies if self._is_battery(supply)]
        if not batteries:
            raise SensorAbsentError(f"no battery under /{_SUPPLIES} shows a power")
        return [partial(self._all, batteries)]

    def _is_battery(self, supply: Path) -> bool:
        has_power = (supply / "power_now").exists() or (supply / "current_now").exists()
        of_an_attached_device = self._label(supply / "scope") == "Device"
        return has_power and not of_an_attached_device and self._label(supply / "type") == "Battery"

    def _all(self, batteries: Sequence[Path]) -> list[Reading]:
        found = [(self._label(battery / "status"), self._battery(battery)) for battery in batteries]
        readings = [reading for _, reading in found]
        giving = [reading for status, reading in found if status == _GIVES]
        in_the_way = [reading for status, reading in found if status in ("", _TAKES)]
        missing = next((r for r in (*in_the_way, *giving) if r.value is None), None)
        if missing or not giving:
            total = self._missing("total", self._root / _SUPPLIES, (missing or readings[0]).reason)
        else:
            watts = sum(reading.value or 0.0 for reading in giving)
            total = self._value("total", watts, " + ".join(reading.name for reading in giving))
        return [total, *readings]

    def _battery(self, battery: Path) -> Reading:
        try:
            status = self._text(battery / "status")
            if status != _GIVES:
                raise SensorUnsupportedError(
                    f"{self._source(battery / 'status')} is {status[:20]!r}: the power that a battery shows is what "
                    f"the board draws only while it is {_GIVES!r}"
                )
            power = self._power(battery)
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            return self._missing(battery.name, battery / "power_now", reason_of(error))
        return self._value(battery.name, power, self._source(battery))

    def _power(self, battery: Path) -> float:
        # Some gauges count a current out of the battery as negative.
        if (battery / "power_now").exists():
            return abs(self._number(battery / "power_now")) * _MICRO
        volts = self._number(battery / "voltage_now") * _MICRO
        return volts * abs(self._number(battery / "current_now")) * _MICRO
