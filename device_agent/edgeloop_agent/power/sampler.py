"""Reads one sensor over a stretch of time: on a thread of its own, or by the steps of a board's own time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.power.channels import total_of
from edgeloop_agent.power.trace import Sample

__all__ = ["Sampled", "Sampler", "SensorReader", "SteppedSampler", "ThreadSampler", "interval_of"]

_NS = 1e-9
_INTERVAL_S_MIN = 0.01
_INTERVAL_S_UNKNOWN = 0.1
"""For a sensor that does not say how often it has a new value."""
_SHARE_AIM = 0.005
"""Readings that cost more are taken less often, so that they stay below half of what has to be reported."""
_SAMPLES_MAX = 20_000
_JOIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorReader:
    """One sensor of a board, without all the others."""

    #: Takes one reading of every channel.
    read: Callable[[], tuple[Reading, ...]]
    #: The board's monotonic clock.
    now_ns: Callable[[], int]
    #: How often its counters have wrapped so far.
    wrap_count: Callable[[], int]
    #: True when reading waits for something outside of the board, which keeps no processor busy.
    waits_outside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What one stretch of sampling has brought."""

    samples: tuple[Sample, ...]
    #: Time that reading kept a processor busy, at most.
    reading_s: float
    #: Time between two readings that was asked for; absent when only both ends are read.
    interval_s: float | None


class Sampler(Protocol):
    """Samples one sensor from ``begin`` to ``end``, again and again."""

    async def begin(self) -> None:
        """Take the first sample and go on."""
        ...

    async def step(self) -> None:
        """Use a moment in which nothing is measured."""
        ...

    async def end(self) -> Sampled:
        """Take the last sample, stop and return them all; safe to call without ``begin``."""
        ...

    @property
    def wrap_count(self) -> int:
        """How often the sensor's counters have wrapped so far."""
        ...


def interval_of(sensor: SensorFacts) -> float:
    """Return the time between two readings: never below the sensor's period, longer where a reading is costly."""
    period_s = _INTERVAL_S_UNKNOWN if sensor.period_s is None else sensor.period_s
    costly_s = (sensor.cost_s or 0.0) / _SHARE_AIM
    return max(period_s, _INTERVAL_S_MIN, costly_s)


class _Collector:
    """Samples of one stretch and the time that they took."""

    def __init__(self, sensor: SensorFacts, reader: SensorReader) -> None:
        self._sensor, self._reader = sensor, reader
        # A chip on a bus or a child process may keep the board busy while the reader waits; a meter outside does not.
        self._clock_ns = time.thread_time_ns if reader.waits_outside else time.perf_counter_ns
        self.samples: list[Sample] = []
        self.reading_ns = 0
        self._cheapest_ns: int | None = None

    def take(self) -> None:
        """Take one sample; what could not be read is no sample."""
        before = self._clock_ns()
        readings = self._reader.read()
        now_ns = self._reader.now_ns()
        spent_ns = self._clock_ns() - before
        self.reading_ns += spent_ns
        self._cheapest_ns = spent_ns if self._cheapest_ns is None else min(self._cheapest_ns, spent_ns)
        sample = total_of(self._sensor, readings, now_ns)
        # A driver that repeats its last reading repeats its time: that is one sample, not two.
        if sample is None or (self.samples and sample.time_ns == self.samples[-1].time_ns):
            return
        if len(self.samples) < _SAMPLES_MAX:
            self.samples.append(sample)
        else:
            self.samples[-1] = sample

    def affordable_s(self, interval_s: float) -> float:
        """Return the interval, longer where readings have turned out costly.

        The cheapest of them counts: in the others the reader may have waited for a processor.
        """
        return max(interval_s, (self._cheapest_ns or 0) * _NS / _SHARE_AIM)

    def result(self, interval_s: float | None) -> Sampled:
        """Return everything."""
        return Sampled(samples=tuple(self.samples), reading_s=self.reading_ns * _NS, interval_s=interval_s)


class ThreadSampler:
    """Samples a sensor of power on a thread of its own, at its own rate, also while batches run.

    A counter of energy needs no samples in between: it is read at both ends.
    """

    def __init__(self, sensor: SensorFacts, reader: SensorReader) -> None:
        self._sensor, self._reader = sensor, reader
        self._interval_s = None if sensor.quantity == "energy" else interval_of(sensor)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._collector: _Collector | None = None

    @property
    def wrap_count(self) -> int:
        """How often the sensor's counters have wrapped so far."""
        return self._reader.wrap_count()

    async def begin(self) -> None:
        """Take the first sample; for power, start the thread that takes the others."""
        await self._halt()
        self._collector = _Collector(self._sensor, self._reader)
        await asyncio.to_thread(self._collector.take)
        if self._interval_s is None:
            return
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_sample_until,
            args=(self._stop, self._collector, self._interval_s),
            name="power-sampler",
            daemon=True,
        )
        self._thread.start()

    async def step(self) -> None:
        """Do nothing: the thread samples by itself."""

    async def end(self) -> Sampled:
        """Take the last sample, unless the thread took one within the sensor's period."""
        await self._halt()
        collector, self._collector = self._collector, None
        if collector is None:
            return Sampled(samples=(), reading_s=0.0, interval_s=self._interval_s)
        last_ns = collector.samples[-1].time_ns if collector.samples else 0
        if self._interval_s is None or self._reader.now_ns() - last_ns >= self._interval_s / _NS:
            await asyncio.to_thread(collector.take)
        asked_s = None if self._interval_s is None else collector.affordable_s(self._interval_s)
        return collector.result(asked_s)

    async def _halt(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            await asyncio.to_thread(thread.join, _JOIN_S)


def _sample_until(stop: threading.Event, collector: _Collector, interval_s: float) -> None:
    """Sample with this much time from one begin to the next; a late reading is not made up for by an early one."""
    due = time.monotonic() + collector.affordable_s(interval_s)
    while not stop.wait(max(0.0, due - time.monotonic())):
        begin = time.monotonic()
        collector.take()
        due = begin + collector.affordable_s(interval_s)


class SteppedSampler:
    """Samples whenever it is given a step; for boards whose time only passes with the work that is done on them."""

    def __init__(self, sensor: SensorFacts, reader: SensorReader) -> None:
        self._sensor, self._reader = sensor, reader
        self._interval_s: float | None = None
        self._collector: _Collector | None = None

    @property
    def wrap_count(self) -> int:
        """How often the sensor's counters have wrapped so far."""
        return self._reader.wrap_count()

    async def begin(self) -> None:
        """Take the first sample."""
        self._collector = _Collector(self._sensor, self._reader)
        self._collector.take()

    async def step(self) -> None:
        """Take a sample of power; a counter of energy needs none in between."""
        if self._sensor.quantity != "energy":
            self.take()

    def take(self) -> None:
        """Take a sample now, if a stretch has begun."""
        if self._collector is not None:
            self._collector.take()

    async def end(self) -> Sampled:
        """Take the last sample; reading a board that is computed takes none of its time."""
        collector, self._collector = self._collector, None
        if collector is None:
            return Sampled(samples=(), reading_s=0.0, interval_s=self._interval_s)
        collector.take()
        return Sampled(samples=tuple(collector.samples), reading_s=0.0, interval_s=self._interval_s)
