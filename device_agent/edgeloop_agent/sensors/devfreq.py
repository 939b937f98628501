"""Clock of the graphics processor as devfreq reports it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import FileSensor, SensorAbsentError, Source

__all__ = ["Devfreq", "DevfreqSensor"]

_DEVICES = "sys/class/devfreq"
_GPU_NODES = frozenset({"gpu", "gp10b", "gv11b", "ga10b"})
"""Names of device tree nodes: Mali and Nano, TX2, Xavier, Orin."""
_FILES = (("current", "cur_freq"), ("minimum", "min_freq"), ("maximum", "max_freq"))


class DevfreqSensor(FileSensor):
    """A sensor that reads graphics processors under ``/sys/class/devfreq``, known by the name of their node."""

    def _gpus(self) -> list[tuple[str, Path]]:
        """Return the node's name and the directory of every graphics processor.

        Raises:
            SensorAbsentError: there is none.
        """
        try:
            devices = sorted((self._root / _DEVICES).iterdir())
        except OSError:
            devices = []
        # A name in the device tree ends in a zero byte.
        named = [
            (self._label(device / "device/of_node/name") or device.name.partition(".")[2], device)
            for device in devices
        ]
        found = [(name, device) for name, device in named if name in _GPU_NODES]
        if not found:
            raise SensorAbsentError(f"no graphics processor under /{_DEVICES}")
        return found


class Devfreq(DevfreqSensor):
    """Current, lowest and highest clock of every graphics processor, in hertz there."""

    name: ClassVar[str] = "devfreq"
    quantity: ClassVar[str] = "frequency"
    unit: ClassVar[str] = "hertz"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1.0

    def _find(self) -> Sequence[Source]:
        return [
            partial(self._file, f"{name}/{label}", device / file)
            for name, device in self._gpus()
            for label, file in _FILES
        ]

    def _file(self, channel: str, path: Path) -> tuple[Reading]:
        return (self._reading(channel, path, 1.0),)
