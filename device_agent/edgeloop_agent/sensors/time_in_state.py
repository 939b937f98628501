"""How long processors have spent at which clock, counted by cpufreq since boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from edgeloop_agent.sensors.cpufreq import POLICIES

__all__ = ["TimeInState"]

_TICK_S = 0.01
_KILO = 1e3
_CHANNELS = ("total", "at_maximum", "full_speed_equivalent")


class TimeInState(FileSensor):
    """``stats/time_in_state`` of every policy, summed up to three counts of seconds; only differences mean anything.

    "total" is all of it; "at_maximum" the part at the highest clock of the table; "full_speed_equivalent" the time
    at the highest clock that has as many cycles as what was really spent, so that its difference over that of
    "total" is the mean clock as a fraction of the highest. The counts are in units of 10 ms (USER_HZ; kernel
    documentation, cpu-freq/cpufreq-stats). A table of 29 clocks as on an Orin would be 29 channels a policy:
    ``residency`` returns it.
    """

    name: ClassVar[str] = "time_in_state"
    quantity: ClassVar[str] = "residency"
    unit: ClassVar[str] = "second"
    scope: ClassVar[str] = "package"
    resolution: ClassVar[float | None] = _TICK_S

    def _find(self) -> Sequence[Source]:
        tables = self._tables()
        if not tables:
            raise SensorAbsentError(
                f"no policy under /{POLICIES} has stats/time_in_state: this cpufreq driver keeps no statistics"
            )
        return [partial(self._policy, table) for table in tables]

    def residency(self) -> dict[str, dict[float, float]]:
        """Return seconds since boot by policy and clock in hertz; policies that cannot be read are left out."""
        found = {}
        for table in self._tables():
            try:
                found[table.parent.parent.name] = self._states(table)
            except (SensorAbsentError, SensorFailedError, SensorUnsupportedError):  # noqa: PERF203 - a few
                continue
        return found

    def _tables(self) -> list[Path]:
        tables = [policy / "stats/time_in_state" for policy in self._children(POLICIES, "policy")]
        return [table for table in tables if table.exists()]

    def _policy(self, table: Path) -> tuple[Reading, ...]:
        policy, source = table.parent.parent.name, self._source(table)
        try:
            sums = _sums(self._states(table))
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            reason = reason_of(error)
            return tuple(self._missing(f"{policy}/{channel}", table, reason) for channel in _CHANNELS)
        return tuple(
            self._value(f"{policy}/{channel}", value, source)
            for channel, value in zip(_CHANNELS, sums, strict=True)
        )

    def _states(self, table: Path) -> dict[float, float]:
        """Return seconds by clock in hertz."""
        text = self._text(table)
        try:
            pairs = [line.split() for line in text.splitlines()]
            states = {int(clock) * _KILO: int(ticks) * _TICK_S for clock, ticks in pairs}
        except (ValueError, OverflowError) as error:
            raise SensorUnsupportedError(
                f"{self._source(table)} holds {text[:40]!r}, no clocks and counts"
            ) from error
        if not states or max(states) <= 0:
            raise SensorUnsupportedError(f"{self._source(table)} is empty")
        return states


def _sums(states: Mapping[float, float]) -> tuple[float, float, float]:
    highest = max(states)
    equivalent = sum(clock * seconds for clock, seconds in states.items()) / highest
    return sum(states.values()), states[highest], equivalent
