"""How fast a processor really runs: a busy loop that is timed. What cpufreq reports is what was asked for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["ClockProbe", "ClockSpeed"]

_SLICE_COUNT = 25
_LOOP_COUNT = 12_400
_BLOCKS = 31
_DATA = bytes(_BLOCKS * 64)
"""What MD5 goes over, a round per 64 bytes.

Each of its steps needs the one before, so that it takes as many cycles whatever the other half of the core does: where
a loop of Python code ran at 0.8 of its speed beside a neighbour, this ran at 1.00 of it. Below 2 KiB at a time, the
interpreter's lock is kept.
"""

_NS = 1e-9
_DISTURBED = 1.1
"""A slice that took a tenth longer on the wall than on the processor was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSpeed:
    """Speed of a fixed busy loop; only the ratio of two of the same Python on the same device means anything."""

    #: Rounds of the loop in a second, in the fastest slice: the one that others disturbed least.
    loops_per_s: float
    #: The same, in the middle slice: what falls far behind the fastest was disturbed or still changing its clock.
    median_loops_per_s: float
    #: How many slices were timed.
    slice_count: int
    #: How many of them were interrupted by other work.
    disturbed_count: int
    #: How long the probe took, which is what it cost the device.
    duration_s: float

    def ratio_to(self, earlier: ClockSpeed) -> float:
        """Return this speed as a fraction of an earlier one: 0.5 means half the clock."""
        return self.loops_per_s / earlier.loops_per_s


class ClockProbe:
    """Times a fixed loop in short slices; keeps one processor busy for some ten milliseconds, on slow boards 0.1 s.

    It is no part of ordinary readings, because it costs time and warms the device; call it before and after a phase.
    The first slices also raise an idle processor's clock, so that the fastest slice shows what it reaches.

    Args:
        timer_ns: wall time in nanoseconds.
        processor_timer_ns: processor time of the calling thread in nanoseconds.
        work: the loop; takes the number of rounds.
        slice_count: how many slices are timed.
        loop_count: rounds in each slice.
    """

    def __init__(
        self,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
        processor_timer_ns: Callable[[], int] = time.thread_time_ns,
        work: Callable[[int], None] | None = None,
        *,
        slice_count: int = _SLICE_COUNT,
        loop_count: int = _LOOP_COUNT,
    ) -> None:
        if slice_count < 1 or loop_count < 1:
            raise ValueError("a clock probe needs at least one slice of one round")
        self._timer_ns, self._processor_timer_ns = timer_ns, processor_timer_ns
        self._work = work or _hash
        self._slice_count, self._loop_count = slice_count, loop_count

    def measure(self, processor: int | None = None) -> ClockSpeed:
        """Return the speed of the processor that this thread runs on, or of the given one.

        Raises:
            OSError: this process may not run on that processor.
            ArithmeticError: the timer did not advance.
        """
        with _pinned(processor):
            start_ns = self._timer_ns()
            slices = [self._slice() for _ in range(self._slice_count)]
            duration_ns = self._timer_ns() - start_ns
        walls = [wall for wall, _ in slices]
        if min(walls) <= 0:
            raise ArithmeticError("the timer did not advance during the clock probe")
        return ClockSpeed(
            loops_per_s=self._loop_count / (min(walls) * _NS),
            median_loops_per_s=self._loop_count / (statistics.median(walls) * _NS),
            slice_count=self._slice_count,
            disturbed_count=sum(wall > _DISTURBED * processor_time for wall, processor_time in slices),
            duration_s=duration_ns * _NS,
        )

    def _slice(self) -> tuple[int, int]:
        processor_start, start = self._processor_timer_ns(), self._timer_ns()
        self._work(self._loop_count)
        return self._timer_ns() - start, self._processor_timer_ns() - processor_start


def _hash(count: int) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    for _ in range(count // _BLOCKS):
        digest.update(_DATA)


@contextlib.contextmanager
def _pinned(processor: int | None) -> Iterator[None]:
    """Keep the calling thread on one processor."""
    if processor is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
