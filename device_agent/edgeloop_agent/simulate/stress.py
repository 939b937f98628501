"""What weighs on a simulated board right now, beyond its profile."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stress"]


@dataclass(slots=True, kw_only=True)
class Stress:
    """Faults that last; a board without any has these defaults for ever."""

    #: Share of the clock that is left of what heat would allow.
    clock_factor: float = 1.0
    #: How many times longer everything takes.
    slowdown: float = 1.0
    #: How far wall time is off.
    skew_s: float = 0.0
    #: Names of sensors that cannot be read any more.
    gone_sensors: frozenset[str] = frozenset()
