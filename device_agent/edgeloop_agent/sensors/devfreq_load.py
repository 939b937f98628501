"""How busy the graphics processor of a Jetson is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import SensorAbsentError, Source
from edgeloop_agent.sensors.devfreq import DevfreqSensor

__all__ = ["DevfreqLoad"]

_PER_MILLE = 1e-3


class DevfreqLoad(DevfreqSensor):
    """``device/load`` of every graphics processor, in per mille there."""

    name: ClassVar[str] = "devfreq_load"
    quantity: ClassVar[str] = "load"
    unit: ClassVar[str] = "fraction"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = _PER_MILLE

    def _find(self) -> Sequence[Source]:
        loads = [(name, device / "device/load") for name, device in self._gpus()]
        found = [(name, path) for name, path in loads if path.exists()]
        if not found:
            raise SensorAbsentError("the driver of the graphics processor shows no load")
        return [partial(self._load, name, path) for name, path in found]

    def _load(self, channel: str, path: Path) -> tuple[Reading]:
        return (self._reading(channel, path, _PER_MILLE),)
