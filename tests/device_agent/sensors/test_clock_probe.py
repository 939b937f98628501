"""A busy loop against a clock that is known, and against this machine's."""

from __future__ import annotations

import os

import pytest
from edgeloop_agent.sensors.clock_probe import ClockProbe, ClockSpeed


class Processor:
    """Runs a round of the loop in a known number of nanoseconds; others may take some of its time."""

    def __init__(self, round_ns: int, *, stolen_ns: tuple[int, ...] = ()) -> None:
        self.round_ns = round_ns
        self._stolen = list(stolen_ns)
        self._wall_ns = self._used_ns = 0

    def wall_ns(self) -> int:
        return self._wall_ns

    def used_ns(self) -> int:
        return self._used_ns

    def work(self, count: int) -> None:
        self._used_ns += count * self.round_ns
        self._wall_ns += count * self.round_ns + (self._stolen.pop(0) if self._stolen else 0)


def measure(processor: Processor) -> ClockSpeed:
    probe = ClockProbe(processor.wall_ns, processor.used_ns, processor.work, slice_count=5, loop_count=1000)
    return probe.measure()


def test_half_the_clock_is_half_the_speed() -> None:
    full, half = measure(Processor(20)), measure(Processor(40))
    assert full.loops_per_s == pytest.approx(50e6)
    assert half.ratio_to(full) == pytest.approx(0.5)
    assert (full.disturbed_count, full.duration_s) == (0, pytest.approx(5 * 1000 * 20e-9))


def test_work_of_others_is_seen_and_does_not_lower_the_speed() -> None:
    quiet = measure(Processor(20))
    disturbed = measure(Processor(20, stolen_ns=(9_000, 0, 9_000, 9_000)))
    assert disturbed.ratio_to(quiet) == pytest.approx(1.0)
    assert disturbed.disturbed_count == 3
    assert disturbed.median_loops_per_s < disturbed.loops_per_s


def test_a_processor_that_wakes_up_is_measured_awake() -> None:
    processor = Processor(80)

    def work(count: int) -> None:
        processor.work(count)
        processor.round_ns = max(20, processor.round_ns // 2)

    probe = ClockProbe(processor.wall_ns, processor.used_ns, work, slice_count=10, loop_count=1000)
    assert probe.measure().loops_per_s == pytest.approx(50e6)


def test_this_machine_has_a_speed_and_keeps_its_affinity() -> None:
    before = os.sched_getaffinity(0)
    probe = ClockProbe(slice_count=15)
    first, second = probe.measure(min(before)), probe.measure(min(before))
    assert os.sched_getaffinity(0) == before
    assert 1e5 < first.loops_per_s < 1e10
    # Wide, because the machine may be busy with other things.
    assert 0.3 < second.ratio_to(first) < 3
    assert first.duration_s < 10


def test_a_timer_that_stands_still_is_an_error() -> None:
    with pytest.raises(ArithmeticError, match="did not advance"):
        ClockProbe(lambda: 0, lambda: 0, slice_count=2).measure()
    with pytest.raises(ValueError, match="at least one slice"):
        ClockProbe(slice_count=0)


def test_an_unknown_processor_is_an_error_and_changes_nothing() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises((OSError, OverflowError)):
        ClockProbe(slice_count=1).measure(100_000)
    assert os.sched_getaffinity(0) == before
