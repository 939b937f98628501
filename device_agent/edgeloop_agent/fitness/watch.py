"""Watches the device over the steady phase of one block: before it, between its batches, after it; never within one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_protocol.types.conditions import Watch

from edgeloop_agent.fitness.preflight import foreign_share
from edgeloop_agent.fitness.vitals import (
    ProcessWork,
    Vitals,
    events_of,
    frequency_of,
    temperature_of,
    throttled_now,
)

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["Watched", "Watcher", "summarise"]

_POLL_S = 1.0
"""A throttle state lasts for seconds; more looks would cost more than they tell."""

_AGAIN = ((0.9, 0.05), (0.9, 0.05), (0.9, 0.05), (0.76, 0.2), (0.76, 0.4), (0.76, 0.8))
"""A loop that is as slow as this is timed again after so many seconds before it is believed: at first soon, and where
it would be called a lowered clock, over more than a second. A lowered clock stays low for longer; a neighbour on the
same core, above all one on the other side of a virtual machine, where nothing shows it, comes and goes."""

_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was seen; ``watch`` goes into the record, the rest is for the judgement."""

    #: The record's part.
    watch: Watch
    #: Length of the phase.
    duration_s: float
    #: Processors on line; 0 when unknown.
    processor_count: int
    #: Governors before and after.
    governors: tuple[str, str]
    #: Whether no clock followed the load, before and after.
    fixed_clock: bool
    #: Throttle states that were seen to hold.
    throttled: tuple[str, ...]
    #: Pages swapped meanwhile; absent when unknown.
    swapped_page_count: int | None
    #: Faults of the runner that waited for a disk; absent when unknown.
    major_fault_count: int | None
    #: Speed of the fixed loop before and after; absent without a probe.
    loops_per_s: tuple[float, float] | None


class Watcher:
    """Watches one block.

    Several may be at work at once, as the runners of a round take turns: each then covers the turns of the others,
    which have to be named as companions, or else their processor time counts as foreign.

    Args:
        board: what is watched.
        runner_pid: process of the runner; None when it is none of this machine.
        companions: other runners that live from ``begin`` to ``end``.
    """

    def __init__(self, board: Board, runner_pid: int | None, companions: Sequence[int] = ()) -> None:
        self._board = board
        self._pids = () if runner_pid is None else (runner_pid, *(p for p in companions if p != runner_pid))
        self._before: Vitals | None = None
        self._speed: float | None = None
        self._polled_ns = 0
        self._throttled: set[str] = set()

    async def begin(self) -> None:
        """Look before the first batch."""
        self._speed = await self._board.loop_speed()
        self._before = await self._look()

    async def between_batches(self) -> None:
        """Look again if the last look is a while ago."""
        if (self._board.clock.monotonic_ns() - self._polled_ns) * _NS >= _POLL_S:
            await self._look()

    async def end(self) -> Watched | None:
        """Look after the last batch and return what was seen; None if it never began."""
        if self._before is None:
            return None
        after = await self._look()
        now = await self._speed_again()
        speeds = None if now is None or self._speed is None else (self._speed, now)
        return summarise(self._before, after, speeds, tuple(sorted(self._throttled)))

    async def _speed_again(self) -> float | None:
        """Return the loop's speed now, the fastest of a few looks when it seems to have slowed."""
        now = await self._board.loop_speed()
        for slowed, wait_s in _AGAIN:
            if now is None or self._speed is None or now >= slowed * self._speed:
                break
            await self._board.clock.sleep(wait_s)
            now = max(now, await self._board.loop_speed() or 0.0)
        return now

    async def _look(self) -> Vitals:
        vitals = await self._board.vitals(self._pids)
        self._polled_ns = vitals.monotonic_ns
        self._throttled.update(throttled_now(vitals.readings).value or ())
        return vitals


def summarise(
    before: Vitals, after: Vitals, loops_per_s: tuple[float, float] | None, throttled: tuple[str, ...]
) -> Watched:
    """Return the difference of two looks; pure."""
    work = _work(before.runner, after.runner)
    quota = _quota_spent(before, after)
    events = (events_of(before.readings), events_of(after.readings))
    watch = Watch(
        runner_cpu_s=None if work is None else work.cpu_s,
        foreign_cpu_share=foreign_share(before, after),
        stolen_cpu_share=_stolen_share(before, after),
        involuntary_switch_count=None if work is None else work.involuntary_switch_count,
        temperature_before_celsius=temperature_of(before.readings).value,
        temperature_after_celsius=temperature_of(after.readings).value,
        frequency_before_hz=frequency_of(before.readings),
        frequency_after_hz=frequency_of(after.readings),
        throttle_event_count=_whole(_rise(*events)),
        clock_probe_ratio=None if loops_per_s is None else loops_per_s[1] / loops_per_s[0],
        quota_period_count=None if quota is None else quota[0],
        quota_throttled_count=None if quota is None else quota[1],
        quota_throttled_s=None if quota is None else quota[2],
    )
    processors = after.processors.value
    return Watched(
        watch=watch,
        duration_s=(after.monotonic_ns - before.monotonic_ns) * _NS,
        processor_count=processors.count if processors else 0,
        governors=(before.governors, after.governors),
        fixed_clock=before.fixed_clock and after.fixed_clock,
        throttled=throttled,
        swapped_page_count=_whole(_rise(before.swapped_page_count.value, after.swapped_page_count.value)),
        major_fault_count=None if work is None else work.major_fault_count,
        loops_per_s=loops_per_s,
    )


def _work(before: ProcessWork | None, after: ProcessWork | None) -> ProcessWork | None:
    """Return what a process did between two looks."""
    if before is None or after is None:
        return None
    switches = _rise(before.involuntary_switch_count, after.involuntary_switch_count)
    faults = _rise(before.major_fault_count, after.major_fault_count)
    return ProcessWork(
        cpu_s=after.cpu_s - before.cpu_s,
        involuntary_switch_count=_whole(switches),
        major_fault_count=_whole(faults),
    )


def _rise(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0.0, after - before)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _stolen_share(before: Vitals, after: Vitals) -> float | None:
    first, last = before.processors.value, after.processors.value
    if first is None or last is None or last.total_s <= first.total_s:
        return None
    return max(0.0, last.stolen_s - first.stolen_s) / (last.total_s - first.total_s)


def _quota_spent(before: Vitals, after: Vitals) -> tuple[int, int, float] | None:
    first, last = before.quota_time, after.quota_time
    if first is None or last is None:
        return None
    return last[0] - first[0], last[1] - first[1], last[2] - first[2]
