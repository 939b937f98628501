"""Clocks and governors as cpufreq reports them. A reported clock is not proof of the real one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import FileSensor, SensorAbsentError, Source

__all__ = ["POLICIES", "CpuFrequency", "governor"]

POLICIES = "sys/devices/system/cpu/cpufreq"
"""Where the policies are: one for every group of processors that share a clock."""
_KILO = 1e3
_FILES = (("current", "scaling_cur_freq"), ("minimum", "scaling_min_freq"), ("maximum", "scaling_max_freq"))


class CpuFrequency(FileSensor):
    """Current, lowest and highest clock of every cpufreq policy, in kHz there."""

    name: ClassVar[str] = "cpufreq"
    quantity: ClassVar[str] = "frequency"
    unit: ClassVar[str] = "hertz"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1e3

    def _find(self) -> Sequence[Source]:
        policies = self._children(POLICIES, "policy")
        if not policies:
            raise SensorAbsentError(
                f"no policy under /{POLICIES}: the clock is not under this kernel's control"
            )
        return [
            partial(self._file, f"{policy.name}/{label}", policy / file)
            for policy in policies
            for label, file in _FILES
        ]

    def _file(self, channel: str, path: Path) -> tuple[Reading]:
        return (self._reading(channel, path, _KILO),)

    def governors(self) -> str:
        """Return the governors in force, joined by a comma where policies differ; empty without any."""
        # Not every policy has a governor; the clocks above carry the reason of a failure.
        found = {self._label(policy / "scaling_governor") for policy in self._children(POLICIES, "policy")}
        return ",".join(sorted(found - {""}))


def governor(root: Path) -> str:
    """Return the frequency governor of the board below ``root``; empty when there is none."""
    return CpuFrequency(root).governors()
