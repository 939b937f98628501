"""Readings of one sensor to the one value that stands for the board."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.power.trace import Sample

__all__ = ["total_of"]

_PACKAGE = re.compile(r".*/package-\d+")


def total_of(sensor: SensorFacts, readings: Sequence[Reading], now_ns: int) -> Sample | None:
    """Return the sensor's value now: its packages added up (their parts are in them), or its first channel.

    The time is that of the last of the readings, or ``now_ns`` where they carry none. None when one is missing.
    """
    mine = [reading for reading in readings if reading.name.partition("/")[0] == sensor.name]
    chosen = [reading for reading in mine if _PACKAGE.fullmatch(reading.name)] or mine[:1]
    values = [reading.value for reading in chosen if reading.value is not None]
    if not values or len(values) != len(chosen):
        return None
    times = [reading.time_ns for reading in chosen if reading.time_ns is not None]
    return Sample(max(times, default=now_ns), sum(values))
