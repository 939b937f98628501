"""Power of a Jetson module from the INA3221 chips on it, with the paths of JetPack 4 and of JetPack 5 and 6."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import SensorAbsentError, Source
from edgeloop_agent.sensors.hwmon import HwmonSensor

__all__ = ["JetsonPower", "is_jetson"]

_IIO = "sys/bus/i2c/drivers/ina3221x"
_RAIL_NAME = re.compile(r"rail_name_(\d+)")
_NOT_CONNECTED = frozenset({"NC", ""})
_MILLI = 1e-3
_MARKS = (_IIO, "etc/nv_tegra_release")
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed the whole module: of Xavier NX, Orin NX and Orin Nano; of Nano; of Thor."""

_Rail = tuple[str, Callable[[str], Reading]]


class JetsonPower(HwmonSensor):
    """The channel "total" first, then every connected rail.

    JetPack 4 has ``rail_name_N`` and ``in_powerN_input`` in milliwatt below an iio device. JetPack 5 and 6 have a
    hwmon chip with ``inN_label``, and there ``inN_input`` is the voltage in **millivolt**, which is easily taken for
    a power: power is ``inN_input`` times ``currN_input``.

    The total is the rail that feeds the module where there is one; its scope is "board", and what only the carrier
    draws (fan, drives, USB) is not in it. An AGX Orin or AGX Xavier has none: there it is the sum of all rails, with
    the scope "rail", and NVIDIA does not say whether VIN_SYS_5V0 also feeds VDDQ_VDD2_1V8AO.

    Error, period and lag are those of the INA3221 (see that driver). The resolution is one step of the current at the
    shunt that the kernel tells: with 5 mOhm at 5 V it is 8 mA or 40 mW, so that an idle rail is coarse.
    """

    name: ClassVar[str] = "jetson_power"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "board"
    period_s: ClassVar[float | None] = 0.0066
    error_fraction: ClassVar[float | None] = 0.01
    lag_s: ClassVar[float | None] = 0.0066

    _has_input = True
    _step_w: float | None = None

    def _find(self) -> Sequence[Source]:
        if not is_jetson(self._root):
            raise SensorAbsentError("this board is no Jetson")
        rails = self._iio_rails() or self._hwmon_rails()
        if not rails:
            raise SensorAbsentError("no INA3221 with a connected rail on this Jetson")
        labels = [label for label, _ in rails]
        feeding = next((label for label in _INPUTS if label in labels), "")
        self._has_input = bool(feeding)
        return [partial(self._all, rails, feeding)]

    def _scope(self) -> str:
        return "board" if self._has_input else "rail"

    def _resolution(self) -> float | None:
        return self._step_w

    def _all(self, rails: Sequence[_Rail], feeding: str) -> list[Reading]:
        found = {label: read(label) for label, read in rails}
        parts = [found[feeding]] if feeding else list(found.values())
        return [self._sum("total", parts), *found.values()]

    def _iio_rails(self) -> list[_Rail]:
        rails: list[_Rail] = []
        for path in sorted((self._root / _IIO).glob("*/iio:device*/rail_name_*")):
            match, label = _RAIL_NAME.fullmatch(path.name), self._label(path)
            if match and label not in _NOT_CONNECTED:
                power = path.with_name(f"in_power{match[1]}_input")
                rails.append((label, partial(self._reading, path=power, scale=_MILLI)))
        return rails

    def _hwmon_rails(self) -> list[_Rail]:
        rails = self._ina3221_rails()
        self._step_w = self._ina3221_step_w(rails)
        return [
            (label, partial(self._product, millivolts=volts, milliamperes=amperes))
            for label, volts, amperes in rails
        ]


def is_jetson(root: Path) -> bool:
    """Return whether the board below ``root`` is a Jetson."""
    return any((root / mark).exists() for mark in _MARKS)
