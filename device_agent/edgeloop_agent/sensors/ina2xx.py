"""Power of a supply line that an INA219, INA226 or a relative on I2C measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import SensorAbsentError, Source
from edgeloop_agent.sensors.hwmon import HwmonSensor

__all__ = ["Ina2xx"]

_CHIPS = frozenset(
    {"ina209", "ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina237", "ina238", "ina260"}
)
_MICRO = 1e-6


class Ina2xx(HwmonSensor):
    """``power1_input`` of hwmon chips called ina219, ina226 and so on, in microwatt there.

    Chips are told apart by their I2C address, never by the number of the hwmon directory, which changes from boot to
    boot. A chip without a file of power is read as voltage (``in1_input``, millivolt) times current
    (``curr1_input``, milliampere).

    What a chip measures is decided by whoever wired it, so the scope is "rail". The error is the largest of the
    family, 1 % of an INA219 over temperature (TI data sheet SBOS448); the shunt's tolerance comes on top. Period and
    lag are the default conversions of an INA226, 2 x 1.1 ms (TI data sheet SBOS547).
    """

    name: ClassVar[str] = "ina2xx"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "rail"
    period_s: ClassVar[float | None] = 0.0022
    error_fraction: ClassVar[float | None] = 0.01
    lag_s: ClassVar[float | None] = 0.0022

    def _find(self) -> Sequence[Source]:
        found = self._chips(_CHIPS)
        if not found:
            raise SensorAbsentError("no hwmon chip of the INA219 and INA226 family")
        names = [self._channel(chip, kind) for chip, kind in found]
        repeated = {name for name, count in Counter(names).items() if count > 1}
        return [
            partial(self._power, f"{name}-{chip.name}" if name in repeated else name, chip)
            for name, (chip, _) in zip(names, found, strict=True)
        ]

    def _channel(self, chip: Path, kind: str) -> str:
        label = self._label(chip / "power1_label") or self._label(chip / "label")
        device = self._device(chip)
        return label or (f"{kind}-{device}" if device else kind)

    def _power(self, channel: str, chip: Path) -> tuple[Reading]:
        power = chip / "power1_input"
        if power.exists():
            return (self._reading(channel, power, _MICRO),)
        return (self._product(channel, chip / "in1_input", chip / "curr1_input"),)
