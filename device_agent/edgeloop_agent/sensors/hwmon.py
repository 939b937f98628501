"""What drivers of hwmon chips share: finding a chip by its name, power from voltage and current."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import (
    FileSensor,
    SensorAbsentError,
    SensorFailedError,
    SensorUnsupportedError,
    reason_of,
)

__all__ = ["HwmonSensor"]

_HWMON = "sys/class/hwmon"
_INA3221 = "ina3221"
_INA3221_CHANNEL = re.compile(r"in([123])_input")
"""Files from 4 on are the voltages of the shunts, and 7 their sum: no bus voltages."""
_NOT_CONNECTED = frozenset({"NC", ""})
_SHUNT_STEP_MICROVOLT = 40.0
"""Of 13 bits with sign over +-163.8 mV (TI data sheet SBOS576)."""
_MICRO = 1e-6
_MILLI = 1e-3


class HwmonSensor(FileSensor):
    """A sensor of power that reads chips under ``/sys/class/hwmon``; the number of a chip means nothing."""

    _interval_s = 0.0

    def _chips(self, names: Collection[str]) -> list[tuple[Path, str]]:
        """Return directory and name of every chip that has one of these names."""
        named = [(chip, self._label(chip / "name")) for chip in self._children(_HWMON, "hwmon")]
        found = [(chip, name) for chip, name in named if name in names]
        intervals = [self._label(chip / "update_interval") for chip, _ in found]
        self._interval_s = max((int(i) * _MILLI for i in intervals if i.isdecimal()), default=0.0)
        return found

    def _period_s(self) -> float | None:
        """Return the longest ``update_interval`` of the chips where they tell it, else what the data sheet says."""
        return self._interval_s or self.period_s

    def _ina3221_step_w(self, rails: Sequence[tuple[str, Path, Path]]) -> float | None:
        """Return the largest step of a rail's power, one step of its current; None without a known shunt."""
        steps = []
        for _, millivolts, _ in rails:
            shunt = millivolts.with_name(
                millivolts.name.replace("in", "shunt", 1).replace("input", "resistor")
            )
            microohms, volts = self._label(shunt), self._label(millivolts)
            if not (microohms.isdecimal() and volts.isdecimal() and int(microohms)):
                return None
            steps.append(_SHUNT_STEP_MICROVOLT / int(microohms) * int(volts) * _MILLI)
        return max(steps, default=None)

    def _device(self, chip: Path) -> str:
        """Return what the kernel calls the chip's device, for example "1-0040"; empty when it is not told."""
        try:
            return (chip / "device").readlink().name
        except OSError:
            return ""

    def _ina3221_rails(self) -> list[tuple[str, Path, Path]]:
        """Return label, file of millivolts and file of milliamperes of every connected INA3221 channel."""
        rails = []
        for chip, _ in self._chips({_INA3221}):
            for path in sorted(chip.iterdir()):
                match = _INA3221_CHANNEL.fullmatch(path.name)
                if match and self._label(chip / f"in{match[1]}_enable") != "0":
                    label = self._label(chip / f"in{match[1]}_label")
                    if label not in _NOT_CONNECTED:
                        rails.append((label, path, chip / f"curr{match[1]}_input"))
        return rails

    def _product(self, channel: str, millivolts: Path, milliamperes: Path) -> Reading:
        """Return the power of a rail, whose voltage and current are read one right after the other."""
        try:
            power = self._number(millivolts) * self._number(milliamperes) * _MICRO
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            return self._missing(channel, millivolts, reason_of(error))
        return self._value(channel, power, f"{self._source(millivolts)} x {milliamperes.name}")

    def _sum(self, channel: str, rails: Sequence[Reading]) -> Reading:
        """Return the sum of rails, or the reason why one of them has no value: a sum of some would be too small."""
        values = [rail.value for rail in rails if rail.value is not None]
        if len(values) < len(rails) or not rails:
            missing = next((rail for rail in rails if rail.value is None), None)
            reason = f"{missing.reason} ({missing.name})" if missing else "absent: no rail"
            return Reading(name=f"{self.name}/{channel}", unit=self.unit, reason=reason)
        return self._value(channel, sum(values), " + ".join(rail.name for rail in rails))
