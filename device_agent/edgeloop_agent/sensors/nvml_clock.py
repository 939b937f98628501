"""Clocks of discrete NVIDIA processors."""

from __future__ import annotations

from typing import Any, ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.nvml import NvmlSensor

__all__ = ["NvmlClock"]

_MEGA = 1e6
_SM, _MEMORY = 1, 2
"""NVML_CLOCK_SM and NVML_CLOCK_MEM."""


class NvmlClock(NvmlSensor):
    """``nvmlDeviceGetClockInfo`` of the streaming multiprocessors and of the memory, in megahertz there."""

    name: ClassVar[str] = "nvml_clock"
    quantity: ClassVar[str] = "frequency"
    unit: ClassVar[str] = "hertz"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = _MEGA

    def _ask(self, library: Any, handle: Any, prefix: str) -> tuple[Reading, ...]:
        return tuple(
            self._figure(
                library,
                f"{prefix}{name}",
                lambda kind=kind: library.nvmlDeviceGetClockInfo(handle, kind) * _MEGA,  # type: ignore[misc]
                "nvmlDeviceGetClockInfo",
            )
            for name, kind in (("sm", _SM), ("memory", _MEMORY))
        )
