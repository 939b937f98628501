"""Power of discrete NVIDIA processors."""

from __future__ import annotations

from typing import Any, ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.nvml import NvmlSensor

__all__ = ["NvmlPower"]

_MILLI = 1e-3


class NvmlPower(NvmlSensor):
    """``nvmlDeviceGetPowerUsage``, in milliwatt there.

    NVIDIA states +-5 % ("accurate to within +/- 5 % of current power draw", NVML API reference). From Ampere on,
    some processors give the mean over the last second there (the same page): the lag.
    """

    name: ClassVar[str] = "nvml_power"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "package"
    period_s: ClassVar[float | None] = 0.1
    resolution: ClassVar[float | None] = _MILLI
    error_fraction: ClassVar[float | None] = 0.05
    lag_s: ClassVar[float | None] = 1.0

    def _ask(self, library: Any, handle: Any, prefix: str) -> tuple[Reading, ...]:
        return (
            self._figure(
                library,
                f"{prefix}power",
                lambda: library.nvmlDeviceGetPowerUsage(handle) * _MILLI,
                "nvmlDeviceGetPowerUsage",
            ),
        )
