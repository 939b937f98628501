"""Scheduled requests on a clock that the test moves."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from edgeloop_agent.arrivals import Served, draw_schedule, serve_paced, serve_schedule
from edgeloop_foundation.statistics import quantile

MS = 1_000_000


class Bench:
    """A server whose times are given, on a clock of its own."""

    def __init__(self, service_ns: Sequence[int]) -> None:
        self.now_ns = 1_000
        self._service = iter(service_ns)
        self.starts: list[int] = []

    def now(self) -> int:
        return self.now_ns

    def wait_until(self, deadline_ns: int) -> None:
        self.now_ns = max(self.now_ns, deadline_ns)

    def serve(self) -> tuple[int, int]:
        before = self.now_ns
        self.starts.append(before - 1_000)
        self.now_ns += next(self._service)
        return before, self.now_ns

    def schedule(self, times: Sequence[int], queue: int = 64, together: int = 1) -> Served:
        return serve_schedule(
            times, queue, self.now, self.wait_until, self.serve, requests_per_inference=together
        )


def test_a_uniform_schedule_has_equal_gaps() -> None:
    assert list(draw_schedule("open_uniform", 1000.0, 4, 0)) == [0, MS, 2 * MS, 3 * MS]


def test_a_poisson_schedule_has_exponential_gaps_and_follows_its_seed() -> None:
    times = list(draw_schedule("open_poisson", 1000.0, 20_000, 1))
    gaps = [later - earlier for earlier, later in zip([0, *times], times, strict=False)]
    assert times[-1] / 20_000 == pytest.approx(MS, rel=0.03)
    # P(gap > mean) = 1 / e for an exponential distribution, and for hardly anything else.
    assert sum(gap > MS for gap in gaps) / 20_000 == pytest.approx(math.exp(-1), abs=0.015)
    assert list(draw_schedule("open_poisson", 1000.0, 50, 1)) == times[:50]
    assert list(draw_schedule("open_poisson", 1000.0, 50, 2)) != times[:50]


def test_a_closed_loop_is_no_schedule() -> None:
    with pytest.raises(ValueError, match="open_poisson"):
        draw_schedule("closed", 1.0, 1, 0)


def test_latency_counts_from_the_intended_time() -> None:
    # The second inference takes five periods: those behind it wait, and say so.
    served = Bench([MS // 2, 5 * MS, MS // 2, MS // 2, MS // 2, MS // 2, MS // 2, MS // 2]).schedule(
        [index * MS for index in range(8)]
    )
    assert list(served.service_ns) == [MS // 2, 5 * MS, *[MS // 2] * 6]
    waits = [latency / MS for latency in served.latency_ns]
    assert waits == [0.5, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0]
    assert served.queue_count_peak == 5
    assert served.dropped_count == 0


def test_a_full_queue_drops_and_counts() -> None:
    served = Bench([10 * MS, MS // 10, MS // 10, MS // 10]).schedule(
        [index * MS for index in range(11)], queue=2
    )
    # During the first, ten come: two wait and the others find the queue full.
    assert (len(served.latency_ns), served.dropped_count, served.queue_count_peak) == (3, 8, 2)
    assert list(served.latency_ns)[1:] == [9 * MS + MS // 10, 8 * MS + 2 * MS // 10]
    assert served.header()["answered_count"] + served.header()["dropped_count"] == 11


def test_one_inference_can_answer_what_waits() -> None:
    served = Bench([4 * MS, MS, MS]).schedule([0, MS, 2 * MS, 3 * MS, 3 * MS], together=3)
    assert len(served.service_ns) == 3
    assert [latency // MS for latency in served.latency_ns] == [4, 4, 3, 2, 3]


def test_pacing_keeps_the_period_and_counts_no_wait() -> None:
    bench = Bench([MS, 3 * MS, MS, MS])
    served = serve_paced(2 * MS, 4, bench.now, bench.wait_until, bench.serve)
    # The third starts when the second is done, and the fourth a period later.
    assert [start // MS for start in bench.starts] == [0, 2, 5, 7]
    assert list(served.latency_ns) == list(served.service_ns) == [MS, 3 * MS, MS, MS]


def test_one_stall_is_in_the_tail_of_the_open_loop_and_hidden_by_the_closed_one() -> None:
    """Coordinated omission: the same service times, one of them a stall of 300 periods."""
    rng = random.Random(5)
    service = [round(MS * rng.uniform(0.3, 0.7)) for _ in range(10_000)]
    service[4_000] = 300 * MS
    closed = quantile(sorted(service), 0.99)
    served = Bench(service).schedule(draw_schedule("open_poisson", 1000.0, 10_000, 3), queue=10_000)
    opened = quantile(sorted(served.latency_ns), 0.99)
    assert closed < MS
    assert opened > 100 * closed
    assert sorted(served.service_ns) == sorted(service)
