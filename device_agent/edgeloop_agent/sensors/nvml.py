"""NVIDIA's management library, found and asked lazily; what sensors of discrete NVIDIA processors share."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import (
    FileSensor,
    SensorAbsentError,
    SensorFailedError,
    SensorUnsupportedError,
    Source,
    reason_of,
)
from edgeloop_agent.sensors.jetson_power import is_jetson

__all__ = ["NvmlSensor"]

_DEVICES = ("dev/nvidiactl", "proc/driver/nvidia/version")
_NOT_SUPPORTED = 3
"""NVML_ERROR_NOT_SUPPORTED: the answer of a Jetson's driver to almost everything."""


class NvmlSensor(FileSensor):
    """A sensor that asks NVML through the package ``nvidia-ml-py`` (module ``pynvml``); not run on hardware so far.

    Args:
        root: where ``/dev`` and ``/proc`` are; only below "/" the library of this machine is loaded.
        now_ns: the board's monotonic clock.
        library: stands for the module ``pynvml``, for a recorded device.
    """

    def __init__(
        self,
        root: Path,
        now_ns: Callable[[], int] = time.monotonic_ns,
        library: Any = None,
    ) -> None:
        super().__init__(root, now_ns)
        self._library = library

    def _find(self) -> Sequence[Source]:
        if is_jetson(self._root):
            # Its driver answers some questions with success and a zero.
            raise SensorAbsentError(
                "no NVIDIA processor of its own; that of a Jetson is read by devfreq and jetson_power"
            )
        library = self._library or self._load()
        try:
            library.nvmlInit()
            handles = [
                library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())
            ]
        except library.NVMLError as error:
            raise SensorFailedError(f"NVML: {error}") from error
        if not handles:
            raise SensorAbsentError("NVML knows no device")
        return [partial(self._ask, library, handle, f"{index}/") for index, handle in enumerate(handles)]

    def _load(self) -> Any:
        if not any((self._root / device).exists() for device in _DEVICES):
            raise SensorAbsentError("no NVIDIA driver that NVML could ask")
        if self._root != Path("/"):
            raise SensorAbsentError("a recorded tree holds no NVML library")
        try:
            return importlib.import_module("pynvml")
        except ImportError as error:
            raise SensorAbsentError(
                "the Python package nvidia-ml-py, which asks NVIDIA's library, is not installed"
            ) from error

    def _ask(self, library: Any, handle: Any, prefix: str) -> tuple[Reading, ...]:
        """Return this sensor's readings of one device."""
        raise NotImplementedError

    def _figure(self, library: Any, channel: str, ask: Callable[[], float], function: str) -> Reading:
        """Return one figure, or why the device does not tell it."""
        source = f"NVML {function}"
        try:
            value = ask()
        except library.NVMLError as error:
            kind = (
                SensorUnsupportedError
                if getattr(error, "value", None) == _NOT_SUPPORTED
                else SensorFailedError
            )
            reason = reason_of(kind(f"{source}: {error}"))
            return Reading(name=f"{self.name}/{channel}", unit=self.unit, reason=reason, source=source)
        return self._value(channel, value, source)
