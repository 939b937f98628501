"""When requests come and what becomes of them: one rule for the real runner and the simulated one.

Law: standard library only. Time comes in as functions, so that a runner passes its clock, a simulation job time
and a test whatever it wants. The schedule is drawn before the first request: a slow answer delays no later
request, and its latency counts from the time at which it was meant to be sent (no coordinated omission).
"""

from __future__ import annotations

import random
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = [
    "SCHEDULE_COUNT_MAX",
    "Now",
    "Serve",
    "Served",
    "WaitUntil",
    "draw_schedule",
    "serve_paced",
    "serve_schedule",
]

SCHEDULE_COUNT_MAX = 1_000_000
"""Requests of one schedule: their times of service and latencies fill one frame."""

_NS = 1_000_000_000

Now = Callable[[], int]
"""Nanoseconds of a monotonic clock."""

WaitUntil = Callable[[int], None]
"""Returns once the clock shows at least this."""

Serve = Callable[[], tuple[int, int]]
"""Runs one inference and returns the clock before and after it."""


@dataclass(slots=True, kw_only=True)
class Served:
    """What became of the requests of one schedule; all times in nanoseconds."""

    start_ns: int
    end_ns: int = 0
    #: Time of each inference, in order of time.
    service_ns: array[int] = field(default_factory=lambda: array("q"))
    #: From the intended time of sending to the answer, one per answered request, in order of sending.
    latency_ns: array[int] = field(default_factory=lambda: array("q"))
    dropped_count: int = 0
    queue_count_peak: int = 0

    def header(self) -> dict[str, int]:
        """Return the counts for an answer's header."""
        return {
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "answered_count": len(self.latency_ns),
            "dropped_count": self.dropped_count,
            "queue_count_peak": self.queue_count_peak,
        }


def draw_schedule(process: str, rate_hz: float, count: int, seed: int) -> array[int]:
    """Return the intended times of sending in nanoseconds from the begin, rising.

    Args:
        process: "open_uniform" for equal gaps, "open_poisson" for exponential ones.
        rate_hz: requests per second.
        count: how many.
        seed: of the gaps.
    """
    if process == "open_uniform":
        return array("q", [round(index * _NS / rate_hz) for index in range(count)])
    if process != "open_poisson":
        raise ValueError(f"an open process is open_uniform or open_poisson, not {process!r}")
    gap = random.Random(seed).expovariate  # noqa: S311
    times, now = array("q"), 0.0
    for _ in range(count):
        now += gap(rate_hz)
        times.append(round(now * _NS))
    return times


def serve_schedule(
    schedule: Sequence[int],
    queue_count_max: int,
    now: Now,
    wait_until: WaitUntil,
    serve: Serve,
    *,
    requests_per_inference: int = 1,
) -> Served:
    """Answer scheduled requests in their order; one that finds the queue full is dropped and counted.

    The queue is brought up to date after each inference: nothing leaves it during one, so that those who would
    have found it full are the same ones. One inference answers what waits, up to ``requests_per_inference``.
    """
    start = now()
    served = Served(start_ns=start)
    waiting: deque[int] = deque()
    count, index = len(schedule), 0
    while index < count or waiting:
        elapsed = now() - start
        # A request that finds the server free goes in without waiting in the queue.
        while index < count and schedule[index] <= elapsed:
            if len(waiting) < queue_count_max:
                waiting.append(schedule[index])
            else:
                served.dropped_count += 1
            index += 1
        if not waiting:
            wait_until(start + schedule[index])
            continue
        served.queue_count_peak = max(served.queue_count_peak, len(waiting))
        before, after = serve()
        served.service_ns.append(after - before)
        for _ in range(min(requests_per_inference, len(waiting))):
            served.latency_ns.append(after - start - waiting.popleft())
    served.end_ns = now()
    return served


def serve_paced(period_ns: int, count: int, now: Now, wait_until: WaitUntil, serve: Serve) -> Served:
    """Start one inference every period, or as soon as the one before is done; the wait belongs to no latency."""
    start = following = now()
    served = Served(start_ns=start)
    for _ in range(count):
        wait_until(following)
        before, after = serve()
        served.service_ns.append(after - before)
        served.latency_ns.append(after - before)
        following = max(before + period_ns, after)
    served.end_ns = now()
    return served
