"""What was read from one sensor during a job, and when the board was busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeloop_protocol.types.facts import SensorFacts

__all__ = ["EnergySpan", "Sample", "Trace"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value with the sensor's own time."""

    time_ns: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySpan:
    """Energy of one stretch of steady inferences, or of idling."""

    #: Energy in joule.
    energy_j: float
    #: Length in seconds of job time.
    duration_s: float
    #: Inferences within; 0 while the board idles.
    inference_count: int
    #: Readings of the sensor within.
    reading_count: int
    #: Time within that was spent reading.
    reading_s: float = 0.0
    #: Time between two readings that was asked for; absent for a counter, which is read at both ends.
    interval_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Samples of one sensor in order of time, with the stretches in which the board was loaded.

    What lies in no stretch of load is taken as idle.
    """

    #: The sensor, with what it declares.
    sensor: SensorFacts
    #: Samples in order of reading.
    samples: Sequence[Sample]
    #: Begin and end of every stretch of load, monotonic nanoseconds, in order.
    busy_ns: Sequence[tuple[int, int]] = field(default_factory=tuple)
    #: Time between two readings that was asked for; absent for a counter, which is read at both ends.
    interval_s: float | None = None
    #: Share of the stretches of load that reading took.
    reading_share: float = 0.0
    #: Times that the driver has seen a counter wrap and has gone on across it.
    wrap_count: int = 0

    def is_busy(self, sample: Sample) -> bool:
        """Return whether the board was loaded at the time of this sample."""
        return any(start <= sample.time_ns <= end for start, end in self.busy_ns)
