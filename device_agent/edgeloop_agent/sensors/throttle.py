"""Evidence of throttling: counters on x86, flags of the firmware on a Raspberry Pi."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from edgeloop_agent.sensors.commands import CommandRunner, commands_of

__all__ = ["Throttle", "ThrottleChange", "throttle_change"]

_CPUS = "sys/devices/system/cpu"
_COUNTERS = (
    ("core_throttle_count", ("physical_package_id", "core_id")),
    ("package_throttle_count", ("physical_package_id",)),
)
"""Counters of x86, and what processors have in common that count the same event."""
_PLATFORM, _FIRMWARE = "sys/devices/platform", "soc*/soc*:firmware/get_throttled"
"""On a Raspberry Pi 5 the node is called soc@107c000000, on earlier ones soc."""
_MODEL = "proc/device-tree/model"
_COMMAND = ("vcgencmd", "get_throttled")
_COMMAND_PERIOD_S = 0.1
"""A vcgencmd process 50 times a second slowed other work sixfold; ten times is the most that is advised."""
_HEXADECIMAL = re.compile(r"(0x)?[0-9a-fA-F]{1,8}")
_NOW, _SINCE_BOOT = "_now", "_since_boot"
_BITS = (
    (0, "under_voltage_now"),
    (1, "frequency_capped_now"),
    (2, "throttled_now"),
    (3, "soft_temperature_limit_now"),
    (16, "under_voltage_since_boot"),
    (17, "frequency_capped_since_boot"),
    (18, "throttled_since_boot"),
    (19, "soft_temperature_limit_since_boot"),
)


class Throttle(FileSensor):
    """Counts that only rise, or flags that are 0 or 1; compare before and after with ``throttle_change``.

    The flags "since boot" are sticky: once set they stay so until the next boot. One that is set before a run
    says nothing about the run; one that becomes set during it proves an event. The flags "now" are of the moment
    and miss what happens between two looks.

    Boards of the Zero family have no detector of under-voltage (Raspberry Pi documentation, "Power supply"): its
    flags are absent there, because a 0 would look like a good supply.

    The flags come from the kernel's file, or from ``vcgencmd`` where there is none, at most ten times a second.
    """

    name: ClassVar[str] = "throttle"
    quantity: ClassVar[str] = "events"
    unit: ClassVar[str] = "count"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = 1.0

    def __init__(
        self,
        root: Path,
        now_ns: Callable[[], int] = time.monotonic_ns,
        commands: CommandRunner | None = None,
    ) -> None:
        super().__init__(root, now_ns)
        self._commands = commands or commands_of(root)
        self._is_slow = False

    def _refresh_s(self) -> float:
        return _COMMAND_PERIOD_S if self._is_slow else 0.0

    def _find(self) -> Sequence[Source]:
        firmware = next(iter(sorted((self._root / _PLATFORM).glob(_FIRMWARE))), None)
        without_detector = " zero" in f" {self._label(self._root / _MODEL)} ".lower()
        self._is_slow = False
        if firmware is not None:
            return [
                partial(self._flags, partial(self._text, firmware), self._source(firmware), without_detector)
            ]
        if self._commands.exists(_COMMAND):
            self._is_slow = True
            return [partial(self._flags, self._ask, " ".join(_COMMAND), without_detector)]
        counters = [(counter, self._counter_files(counter, sharing)) for counter, sharing in _COUNTERS]
        if any(groups for _, groups in counters):
            return [partial(self._sum, counter, groups) for counter, groups in counters]
        raise SensorAbsentError(
            "neither thermal_throttle counters of x86 nor the firmware's get_throttled of a Raspberry Pi"
        )

    def _ask(self) -> str:
        answer = self._commands.run(_COMMAND)
        key, _, bits = answer.strip().partition("=")
        if key != "throttled":
            raise SensorUnsupportedError(f"{' '.join(_COMMAND)} printed {answer[:40]!r}, no bits")
        return bits

    def _flags(self, bits_of: Callable[[], str], source: str, without_detector: bool) -> tuple[Reading, ...]:
        text = bits_of()
        # The kernel prints the bits in hexadecimal, with or without 0x.
        if not _HEXADECIMAL.fullmatch(text):
            raise SensorUnsupportedError(f"{source} holds {text[:40]!r}, no bits")
        bits = int(text, 16)
        return tuple(
            Reading(
                name=f"{self.name}/{name}",
                unit=self.unit,
                reason="absent: boards of the Zero family have no detector of under-voltage",
                source=source,
            )
            if without_detector and name.startswith("under_voltage")
            else self._value(name, float(bits >> bit & 1), source)
            for bit, name in _BITS
        )

    def _counter_files(self, counter: str, sharing: Sequence[str]) -> list[list[Path]]:
        """Return the files of one counter, those together that count the same events."""
        groups: dict[tuple[str, ...], list[Path]] = {}
        for cpu in self._children(_CPUS, "cpu"):
            path = cpu / "thermal_throttle" / counter
            if path.exists():
                place = tuple(self._label(cpu / "topology" / name) for name in sharing)
                groups.setdefault(place if all(place) else (cpu.name,), []).append(path)
        return list(groups.values())

    def _sum(self, counter: str, groups: Sequence[Sequence[Path]]) -> tuple[Reading]:
        """Add one counter over all cores or packages, of each the processor that has counted most."""
        source = self._root / _CPUS
        if not groups:
            return (self._missing(counter, source, f"absent: no {counter}"),)
        try:
            total = float(sum(max(self._number(path) for path in files) for files in groups))
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            return (self._missing(counter, source, reason_of(error)),)
        return (self._value(counter, total, self._source(source)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleChange:
    """What two sets of readings prove about throttling between them."""

    #: Channels that prove an event, with what they showed before and after.
    events: tuple[str, ...]
    #: Channels that cannot tell, and why.
    blind: tuple[str, ...]


def throttle_change(before: Sequence[Reading], after: Sequence[Reading]) -> ThrottleChange:
    """Compare readings of the sensors of events; other sensors' are left out.

    A count proves an event by having risen, a flag "now" by being set at either end, a flag "since boot" by
    having become set: one that was set before is blind, and so is whatever could not be read at both ends.
    """
    earlier = {reading.name: reading for reading in before if reading.unit == Throttle.unit}
    events, blind = [], []
    for reading in after:
        if reading.unit != Throttle.unit:
            continue
        first = earlier.get(reading.name)
        was, now = (first.value if first else None), reading.value
        if was is None or now is None:
            reason = reading.reason or (first.reason if first else "") or "it was not read at both ends"
            blind.append(f"{reading.name}: {reason}")
        elif reading.name.endswith(_SINCE_BOOT) and was:
            blind.append(f"{reading.name}: set before, and it stays set until the next boot")
        elif now > was or (reading.name.endswith(_NOW) and (was or now)):
            events.append(f"{reading.name}: {was:g} -> {now:g}")
    return ThrottleChange(events=tuple(events), blind=tuple(blind))
