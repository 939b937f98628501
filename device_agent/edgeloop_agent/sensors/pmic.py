"""Power of the rails behind the power management chip of a Raspberry Pi 5."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import FileSensor, SensorAbsentError, SensorUnsupportedError, Source
from edgeloop_agent.sensors.commands import CommandRunner, commands_of

__all__ = ["Pmic"]

_COMMAND = ("vcgencmd", "pmic_read_adc")
_SOURCE = " ".join(_COMMAND)
_LINE = re.compile(r"\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=(\d{1,6}\.?\d{0,12})[AV]\s*")
_NO_PMIC = "not registered"


class Pmic(FileSensor):
    """``vcgencmd pmic_read_adc``: the channel "total" first, then voltage times current of every rail.

    Current and voltage of a rail are paired by name, not by order. EXT5V and BATT have a voltage and no current, so
    they have no power. The total is that of the rails behind the chip, hence the scope: what takes its 5 V in front
    of it (USB, HATs, drives, fan) and the chip's own losses are not in it; a wall meter shows more.

    Each reading starts a process, so that ten a second are the most that is taken: at fifty, other work on the board
    was seen to become six times slower. The rails are read by the chip one after the other, and the values jump; a
    mean over many seconds is what stands. Nobody states an error.
    """

    name: ClassVar[str] = "pmic"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "rail"
    period_s: ClassVar[float | None] = 0.1
    refresh_s: ClassVar[float] = 0.1

    def __init__(
        self,
        root: Path,
        now_ns: Callable[[], int] = time.monotonic_ns,
        commands: CommandRunner | None = None,
    ) -> None:
        super().__init__(root, now_ns)
        self._commands = commands or commands_of(root)

    def _find(self) -> Sequence[Source]:
        if not self._commands.exists(_COMMAND):
            raise SensorAbsentError("no program 'vcgencmd', which only a Raspberry Pi has")
        if _NO_PMIC in self._commands.run(_COMMAND):
            raise SensorAbsentError("this Raspberry Pi has no power management chip that can be asked")
        return [self._rails]

    def _rails(self) -> list[Reading]:
        found = parse_rails(self._commands.run(_COMMAND))
        if not found:
            raise SensorUnsupportedError(f"{_SOURCE} printed no rail with voltage and current")
        total = self._value("total", sum(found.values()), _SOURCE)
        return [total, *(self._value(rail, power, _SOURCE) for rail, power in found.items())]


def parse_rails(output: str) -> dict[str, float]:
    """Return the power in watt of every rail that has a voltage and a current."""
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in output.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            (amperes if match[2] == "A" else volts)[match[1]] = float(match[3])
    return {rail: current * volts[rail] for rail, current in amperes.items() if rail in volts}
