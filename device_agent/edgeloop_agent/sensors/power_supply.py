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
_GIVES = "Discharging"
_NEGOTIATED = "ucsi"


class PowerSupply(FileSensor):
    """``power_now``, or ``voltage_now`` times ``current_now``, in micro units there.

    A battery shows what the board draws only while it discharges: charging or full, the same file holds what flows
    into it, so there is a reason and no value. Batteries of attached devices (a mouse) are left out. Mains adapters
    show no power; USB-C ports of the UCSI driver show what was negotiated, not what flows, and are left out too.

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
        usable = [supply for supply in supplies if self._is_usable(supply)]
        if not usable:
            raise SensorAbsentError(f"no battery or metered supply under /{_SUPPLIES}")
        return [partial(self._supply, supply) for supply in usable]

    def _is_usable(self, supply: Path) -> bool:
        has_power = (supply / "power_now").exists() or (supply / "current_now").exists()
        of_an_attached_device = self._label(supply / "scope") == "Device"
        return has_power and not of_an_attached_device and not supply.name.startswith(_NEGOTIATED)

    def _supply(self, supply: Path) -> tuple[Reading]:
        channel, source = supply.name, supply / "power_now"
        try:
            if self._label(supply / "type") == "Battery":
                status = self._text(supply / "status")
                if status != _GIVES:
                    raise SensorUnsupportedError(
                        f"{self._source(supply / 'status')} is {status[:20]!r}: the power that a battery shows is what "
                        f"the board draws only while it is {_GIVES!r}"
                    )
            power = self._power(supply)
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            return (self._missing(channel, source, reason_of(error)),)
        return (self._value(channel, power, self._source(supply)),)

    def _power(self, supply: Path) -> float:
        # Some gauges count a current out of the battery as negative.
        if (supply / "power_now").exists():
            return abs(self._number(supply / "power_now")) * _MICRO
        volts = self._number(supply / "voltage_now") * _MICRO
        return volts * abs(self._number(supply / "current_now")) * _MICRO
