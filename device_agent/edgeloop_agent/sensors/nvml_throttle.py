"""Why discrete NVIDIA processors run slower than they could, at the moment."""

from __future__ import annotations

from typing import Any, ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.nvml import NvmlSensor

__all__ = ["NvmlThrottle"]

_FUNCTION = "nvmlDeviceGetCurrentClocksThrottleReasons"
_REASONS = (
    (0x04, "power_cap"),
    (0x08, "hardware_slowdown"),
    (0x20, "software_thermal_slowdown"),
    (0x40, "hardware_thermal_slowdown"),
    (0x80, "power_brake"),
)
"""Bits of nvmlClocksThrottleReasons; an idle processor and settings of clocks are no throttling."""


class NvmlThrottle(NvmlSensor):
    """Flags "<device>/<reason>_now" that are 1 while the reason holds."""

    name: ClassVar[str] = "nvml_throttle"
    quantity: ClassVar[str] = "events"
    unit: ClassVar[str] = "count"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1.0

    def _ask(self, library: Any, handle: Any, prefix: str) -> tuple[Reading, ...]:
        def is_set(bit: int) -> float:
            return float(bool(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle) & bit))

        return tuple(
            self._figure(library, f"{prefix}{name}_now", lambda bit=bit: is_set(bit), _FUNCTION)  # type: ignore[misc]
            for bit, name in _REASONS
        )
