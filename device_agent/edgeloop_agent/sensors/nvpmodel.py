"""Power mode of a Jetson: what clocks, cores and watts it is allowed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import (
    FileSensor,
    SensorAbsentError,
    SensorFailedError,
    SensorUnsupportedError,
    Source,
)
from edgeloop_agent.sensors.commands import CommandRunner, commands_of

__all__ = ["Nvpmodel"]

_STATUS = "var/lib/nvpmodel/status"
_CONFIGURATION = "etc/nvpmodel.conf"
_COMMAND = ("nvpmodel", "-q")
_PMODE = re.compile(r"pmode:(\d{1,6})")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_ANSWER = re.compile(r"NV Power Mode:\s*(\S{1,40})\s+(\d{1,6})")


class Nvpmodel(FileSensor):
    """The channel "mode": its value is the mode's number, its source holds the mode's name.

    The number is in ``/var/lib/nvpmodel/status`` ("pmode:0003") and the names are in ``/etc/nvpmodel.conf``; without
    those files ``nvpmodel -q`` is asked. A mode changes by hand, so it is looked at once in ten seconds.
    """

    name: ClassVar[str] = "nvpmodel"
    quantity: ClassVar[str] = "power_mode"
    unit: ClassVar[str] = "id"
    scope: ClassVar[str] = "board"
    period_s: ClassVar[float | None] = 10.0
    resolution: ClassVar[float | None] = 1.0
    refresh_s: ClassVar[float] = 10.0

    def __init__(
        self,
        root: Path,
        now_ns: Callable[[], int] = time.monotonic_ns,
        commands: CommandRunner | None = None,
    ) -> None:
        super().__init__(root, now_ns)
        self._commands = commands or commands_of(root)

    def _find(self) -> Sequence[Source]:
        if (self._root / _STATUS).exists():
            return [self._from_file]
        if self._commands.exists(_COMMAND):
            return [self._from_command]
        raise SensorAbsentError("neither /var/lib/nvpmodel/status nor a program 'nvpmodel'")

    def _from_file(self) -> tuple[Reading]:
        text = self._text(self._root / _STATUS)
        match = _PMODE.search(text)
        if match is None:
            raise SensorUnsupportedError(f"/{_STATUS} holds {text[:40]!r}, no mode")
        number = int(match[1])
        name = self._names().get(number, "")
        return (self._value("mode", float(number), f"/{_STATUS}" + (f" ({name})" if name else "")),)

    def _names(self) -> dict[int, str]:
        try:
            text = self._text(self._root / _CONFIGURATION)
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError):
            return {}
        return {int(number): name for number, name in _MODE.findall(text)}

    def _from_command(self) -> tuple[Reading]:
        output = self._commands.run(_COMMAND)
        match = _ANSWER.search(output)
        if match is None:
            raise SensorUnsupportedError(f"{' '.join(_COMMAND)} printed {output[:40]!r}, no mode")
        return (self._value("mode", float(match[2]), f"{' '.join(_COMMAND)} ({match[1]})"),)
