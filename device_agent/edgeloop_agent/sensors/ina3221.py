"""Power of the supply lines that an INA3221 with three channels measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import SensorAbsentError, Source
from edgeloop_agent.sensors.hwmon import HwmonSensor
from edgeloop_agent.sensors.jetson_power import is_jetson

__all__ = ["Ina3221"]


class Ina3221(HwmonSensor):
    """Voltage times current of every connected channel: the chip and its driver know no power.

    ``inN_input`` is the bus voltage in millivolt and ``currN_input`` the current in milliampere (kernel
    documentation, hwmon/ina3221). The same chips of a Jetson are read by ``jetson_power``, which knows its rails.

    The error is 0.5 % at most for each factor over temperature (TI data sheet SBOS576, gain error); the shunt's
    tolerance comes on top. Period and lag are the default conversions, three channels of 2 x 1.1 ms, unless the chip
    tells another interval. The resolution is one step of the current, which depends on the shunt.
    """

    name: ClassVar[str] = "ina3221"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "rail"
    period_s: ClassVar[float | None] = 0.0066
    error_fraction: ClassVar[float | None] = 0.01
    lag_s: ClassVar[float | None] = 0.0066

    _step_w: float | None = None

    def _resolution(self) -> float | None:
        return self._step_w

    def _find(self) -> Sequence[Source]:
        if is_jetson(self._root):
            raise SensorAbsentError("the INA3221 chips of a Jetson are read by jetson_power")
        rails = self._ina3221_rails()
        if not rails:
            raise SensorAbsentError("no connected channel of a hwmon chip ina3221")
        self._step_w = self._ina3221_step_w(rails)
        repeated = {label for label, count in Counter(label for label, _, _ in rails).items() if count > 1}
        return [
            partial(
                self._rail,
                f"{self._device(volts.parent) or volts.parent.name}-{label}" if label in repeated else label,
                volts,
                amperes,
            )
            for label, volts, amperes in rails
        ]

    def _rail(self, channel: str, millivolts: Path, milliamperes: Path) -> tuple[Reading]:
        return (self._product(channel, millivolts, milliamperes),)
