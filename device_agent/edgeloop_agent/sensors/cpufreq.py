"""Clocks and governors as cpufreq reports them. A reported clock is not proof of the real one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import Sensor, SensorAbsentError, SensorFailedError

__all__ = ["CpuFrequency", "governor"]

_POLICIES = "sys/devices/system/cpu/cpufreq"
_KILO = 1e3
_FILES = (("current", "scaling_cur_freq"), ("minimum", "scaling_min_freq"), ("maximum", "scaling_max_freq"))


class CpuFrequency(Sensor):
    """Current, lowest and highest clock of every cpufreq policy, in kHz there."""

    name: ClassVar[str] = "cpufreq"
    quantity: ClassVar[str] = "frequency"
    unit: ClassVar[str] = "hertz"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1e3

    def _readings(self) -> tuple[Reading, ...]:
        policies = _policies(self._root)
        if not policies:
            raise SensorAbsentError(
                f"no policy under /{_POLICIES}: the clock is not under this kernel's control"
            )
        return tuple(
            self._reading(f"{policy.name}/{label}", policy / file, _KILO)
            for policy in policies
            for label, file in _FILES
        )

    def governors(self) -> str:
        """Return the governors in force, joined by a comma where policies differ; empty without any."""
        found: set[str] = set()
        for policy in _policies(self._root):
            try:
                found.add(self._text(policy / "scaling_governor"))
            except (SensorAbsentError, SensorFailedError):  # noqa: PERF203 - a few policies
                # Not every policy has a governor; the clocks above carry the reason of a failure.
                continue
        return ",".join(sorted(found))


def governor(root: Path) -> str:
    """Return the frequency governor of the board below ``root``; empty when there is none."""
    return CpuFrequency(root).governors()


def _policies(root: Path) -> list[Path]:
    return sorted((root / _POLICIES).glob("policy[0-9]*"), key=lambda path: int(path.name[6:]))
