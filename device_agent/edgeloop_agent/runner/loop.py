"""The timed loop: nothing in it but the clock and the runtime."""

from __future__ import annotations

import contextlib
import gc
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeloop_agent.arrivals import Serve
from edgeloop_agent.runner.runtimes.base import Execute

__all__ = ["FeedCycle", "Timed", "server", "still_collector", "time_inferences", "wait_until"]

# A sleeping process wakes up some 60 us late; the rest of the wait is spun.
_SPIN_NS = 100_000


@dataclass(slots=True)
class FeedCycle:
    """Feeds built beforehand and used in turn; state flows from one to the next within an item."""

    #: Inputs by name; carried state is zero in a feed that starts an item, and is overwritten in the others.
    feeds: list[dict[str, Any]]
    #: Whether each feed starts an item.
    starts: list[bool]
    #: State input and the position of the output that yields it.
    bindings: list[tuple[str, int]] = field(default_factory=list)
    #: Index of the next feed.
    cursor: int = 0

    def advance(self, outputs: Sequence[Any]) -> None:
        """Step to the next feed and hand the state on."""
        self.cursor = (self.cursor + 1) % len(self.feeds)
        if not self.starts[self.cursor]:
            following = self.feeds[self.cursor]
            for name, position in self.bindings:
                following[name] = outputs[position]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Samples of one batch of inferences."""

    #: Nanoseconds per inference, int64.
    samples_ns: array[int]
    #: ``perf_counter_ns`` before the first.
    start_ns: int
    #: ``perf_counter_ns`` after the last.
    end_ns: int


def time_inferences(execute: Execute, cycle: FeedCycle, count: int) -> Timed:
    """Run ``count`` inferences and time each; the garbage collector stands still meanwhile.

    It is not made to collect here: that would take milliseconds which only the agent's clock sees.
    """
    with still_collector():
        loop = _with_state if cycle.bindings else _without_state
        return loop(execute, cycle, count)


@contextlib.contextmanager
def still_collector() -> Iterator[None]:
    """Keep the garbage collector from running within."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def server(execute: Execute, cycle: FeedCycle) -> Serve:
    """Return a function that runs the next inference and returns the clock before and after it."""
    clock, advance, feeds = time.perf_counter_ns, cycle.advance, cycle.feeds

    def serve() -> tuple[int, int]:
        feed = feeds[cycle.cursor]
        before = clock()
        outputs = execute(feed)
        after = clock()
        advance(outputs)
        return before, after

    return serve


def wait_until(deadline_ns: int) -> None:
    """Return when ``perf_counter_ns`` shows ``deadline_ns``: sleep, then spin for the last 100 microseconds."""
    clock = time.perf_counter_ns
    left = deadline_ns - clock()
    if left > _SPIN_NS:
        time.sleep((left - _SPIN_NS) / 1e9)
    while clock() < deadline_ns:
        pass


def _without_state(execute: Execute, cycle: FeedCycle, count: int) -> Timed:
    samples = array("q", bytes(8 * count))
    clock = time.perf_counter_ns
    feeds, length, first = cycle.feeds, len(cycle.feeds), cycle.cursor
    start = clock()
    for index in range(count):
        feed = feeds[(first + index) % length]
        before = clock()
        execute(feed)
        samples[index] = clock() - before
    end = clock()
    cycle.cursor = (first + count) % length
    return Timed(samples_ns=samples, start_ns=start, end_ns=end)


def _with_state(execute: Execute, cycle: FeedCycle, count: int) -> Timed:
    samples = array("q", bytes(8 * count))
    clock, advance, feeds = time.perf_counter_ns, cycle.advance, cycle.feeds
    start = clock()
    for index in range(count):
        feed = feeds[cycle.cursor]
        before = clock()
        outputs = execute(feed)
        samples[index] = clock() - before
        advance(outputs)
    end = clock()
    return Timed(samples_ns=samples, start_ns=start, end_ns=end)
