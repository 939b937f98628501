"""Over-current and under-voltage events of a Jetson, counted by its hardware throttling."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import FileSensor, SensorAbsentError, Source

__all__ = ["Overcurrent"]

_HWMON = "sys/class/hwmon"
_CHIP = "soctherm_oc"
_COUNTER = re.compile(r"oc(\d+)_event_cnt")


class Overcurrent(FileSensor):
    """``oc*_event_cnt`` of the hwmon chip ``soctherm_oc``: since boot and never cleared, so only a rise means anything.

    What a number stands for depends on the module, so channels are "oc1" to "ocN": on an Orin 1 is under-voltage, 2
    the average and 3 the instantaneous over-current (NVIDIA Jetson Linux Developer Guide, "Jetson Orin Nano, Orin NX
    and AGX Orin": over-current event status). In the fastest power modes the third can rise all the time: it is a
    reason to look, not proof of a slow clock.
    """

    name: ClassVar[str] = "overcurrent"
    quantity: ClassVar[str] = "events"
    unit: ClassVar[str] = "count"
    scope: ClassVar[str] = "board"
    resolution: ClassVar[float | None] = 1.0

    def _find(self) -> Sequence[Source]:
        found: list[tuple[int, Path]] = []
        for chip in self._children(_HWMON, "hwmon"):
            if self._label(chip / "name") == _CHIP:
                matches = [(_COUNTER.fullmatch(path.name), path) for path in chip.iterdir()]
                found += [(int(match[1]), path) for match, path in matches if match]
        if not found:
            raise SensorAbsentError(f"no hwmon chip {_CHIP} under /{_HWMON}")
        return [partial(self._one, number, path) for number, path in sorted(found)]

    def _one(self, number: int, path: Path) -> tuple[Reading]:
        return (self._reading(f"oc{number}", path, 1.0),)
