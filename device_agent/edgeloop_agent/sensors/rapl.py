"""Energy counters of x86 processors (RAPL) through powercap."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import (
    FileSensor,
    SensorAbsentError,
    SensorFailedError,
    SensorUnsupportedError,
    Source,
    reason_of,
)

__all__ = ["Rapl"]

_ZONES = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl:[0-9a-f]+(:[0-9a-f]+)?")
_DIE = re.compile(r"(package-\d+)-(die-\d+)")
_MICRO = 1e-6
_NS = 1e-9
_POWER_MAX_W = 10_000.0
"""More than any one package draws: a counter that seems to have wrapped that fast was set back instead."""


class Rapl(FileSensor):
    """``intel-rapl:*/energy_uj``; values count up from the first reading and go on across the counter's wrap.

    AMD processors show the same zones under the same name (Linux 5.8 and later). Every zone is a channel of its
    own, "<zone>/<name>": "0/package-0" is a whole package, its sub-zones "0:0/core" and "0:1/uncore" are parts of
    it and "1/psys" the platform around it, so that only packages may be added up. ``intel-rapl-mmio`` is a second
    window on the same package and is left out.

    A reading at least every few minutes is needed: at 28 W a counter of 32 bits of 15.3 uJ wraps within 39
    minutes, and two wraps between two readings cannot be told from one.

    Period and lag are those of the counter's update, about 1 ms, the resolution is the usual energy unit of 2^-14 J
    (Intel SDM volume 3B, "RAPL Interfaces"). Nobody states an error of the values.
    """

    name: ClassVar[str] = "rapl"
    quantity: ClassVar[str] = "energy"
    unit: ClassVar[str] = "joule"
    scope: ClassVar[str] = "package"
    period_s: ClassVar[float | None] = 0.001
    resolution: ClassVar[float | None] = 61e-6
    lag_s: ClassVar[float | None] = 0.001

    def __init__(self, root: Path, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(root, now_ns)
        self._counted: dict[str, tuple[int, int]] = {}
        self._total_uj: dict[str, int] = {}
        self._set_back: dict[str, str] = {}
        #: How often a counter of any zone has wrapped since this driver began.
        self.wrap_count = 0

    def _find(self) -> Sequence[Source]:
        self._set_back.clear()
        try:
            names = [path.name for path in (self._root / _ZONES).iterdir()]
        except OSError:
            names = []
        zones = sorted(name for name in names if _ZONE.fullmatch(name))
        if not zones:
            raise SensorAbsentError(f"no intel-rapl zone under /{_ZONES}")
        return [partial(self._zone, self._root / _ZONES / name, self._channel(name)) for name in zones]

    def _channel(self, zone: str) -> str:
        """Return the name of a zone with its index, which keeps apart "core" of one socket and of another.

        A package with several dies has a zone for each: the die goes before the slash, so that every zone of a
        package ends in "/package-<number>".
        """
        index = zone.removeprefix("intel-rapl:")
        name = self._label(self._root / _ZONES / zone / "name")
        die = _DIE.fullmatch(name)
        if die:
            return f"{index}-{die[2]}/{die[1]}"
        return f"{index}/{name}" if name else index

    def _zone(self, zone: Path, channel: str) -> tuple[Reading]:
        path = zone / "energy_uj"
        try:
            total = self._unwrap(zone)
        except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
            return (self._missing(channel, path, _with_advice(reason_of(error))),)
        return (self._value(channel, total * _MICRO, self._source(path)),)

    def _unwrap(self, zone: Path) -> int:
        """Return the energy of a zone since its first reading."""
        if zone.name in self._set_back:
            raise SensorFailedError(self._set_back[zone.name])
        now, now_ns = self._number(zone / "energy_uj"), self._now_ns()
        if now < 0:
            raise SensorUnsupportedError(f"{self._source(zone / 'energy_uj')} holds {now}, no count")
        last, last_ns = self._counted.get(zone.name, (now, now_ns))
        step = now - last
        if step < 0:
            step += self._number(zone / "max_energy_range_uj")
            self._check_wrap(zone, step * _MICRO, (now_ns - last_ns) * _NS)
        self._counted[zone.name] = (now, now_ns)
        self._total_uj[zone.name] = self._total_uj.get(zone.name, 0) + step
        return self._total_uj[zone.name]

    def _check_wrap(self, zone: Path, step_j: float, seconds: float) -> None:
        """Tell a counter that wrapped from one that a suspend or a reloaded driver has set back."""
        if 0 <= step_j <= _POWER_MAX_W * max(seconds, 1.0):
            self.wrap_count += 1
            return
        self._counted.pop(zone.name, None)
        self._set_back[zone.name] = (
            f"{self._source(zone / 'energy_uj')} went back, and not by a wrap: that would be {step_j:.3g} J "
            f"in {seconds:.3g} s. What was used in between is unknown; start the measurement again"
        )
        raise SensorFailedError(self._set_back[zone.name])


def _with_advice(reason: str) -> str:
    if "Permission denied" in reason:
        return (
            f"{reason}; energy counters are root's, a udev rule may give them to the agent's group: "
            'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chgrp edgeloop /sys%p/energy_uj", '
            'RUN+="/bin/chmod g+r /sys%p/energy_uj"'
        )
    return reason
