"""Temperatures at which the kernel begins to act: lowers clocks, warns, switches off."""

from __future__ import annotations

from collections.abc import Sequence
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
from edgeloop_agent.sensors.thermal import CONSTANT_ZONES, name_zones

__all__ = ["TripPoints"]

_ZONES = "sys/class/thermal"
_MILLI = 1e-3
_KINDS = ("passive", "hot", "critical")
"""What is done there: clocks are lowered, a warning is given, the board is switched off. "active" starts a fan."""


class TripPoints(FileSensor):
    """The lowest enabled ``trip_point_*_temp`` of each kind and zone, in millidegrees there.

    They are read at most once a minute: they change when somebody sets them. A trip point of 0 degrees or less
    is one that firmware left disabled.
    """

    name: ClassVar[str] = "trip_points"
    quantity: ClassVar[str] = "temperature_limit"
    unit: ClassVar[str] = "celsius"
    scope: ClassVar[str] = "board"
    period_s: ClassVar[float | None] = 60.0
    resolution: ClassVar[float | None] = 0.001
    refresh_s: ClassVar[float] = 60.0

    def _find(self) -> Sequence[Source]:
        zones = self._children(_ZONES, "thermal_zone")
        names = name_zones([self._label(zone / "type") or zone.name for zone in zones], zones)
        sources: list[Source] = []
        for zone, name in zip(zones, names, strict=True):
            found = {} if name in CONSTANT_ZONES else self._trips(zone)
            sources += [
                partial(self._lowest, f"{name}/{kind}", found[kind]) for kind in _KINDS if kind in found
            ]
        if not sources:
            raise SensorAbsentError(f"no zone under /{_ZONES} has a trip point of {', '.join(_KINDS)}")
        return sources

    def _trips(self, zone: Path) -> dict[str, list[Path]]:
        """Return the files of a zone's trip points by what is done there."""
        found: dict[str, list[Path]] = {}
        for path in sorted(zone.glob("trip_point_*_type")):
            temperature = path.with_name(path.name.replace("_type", "_temp"))
            found.setdefault(self._label(path), []).append(temperature)
        return found

    def _lowest(self, channel: str, paths: Sequence[Path]) -> tuple[Reading]:
        try:
            trips = [(number, path) for path in paths if (number := self._number(path)) > 0]
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError) as error:
            return (self._missing(channel, paths[0], reason_of(error)),)
        if not trips:
            return (self._missing(channel, paths[0], "absent: the trip point is disabled"),)
        number, path = min(trips)
        return (self._value(channel, number * _MILLI, self._source(path)),)
