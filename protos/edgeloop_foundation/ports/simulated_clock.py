"""A clock whose time passes only when somebody moves it, or at once when everybody waits for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["SimulatedClock"]

_QUIET_TURNS = 32
"""Turns of the event loop without a new sleeper after which everybody is taken to wait for the clock.

A chain of wake-ups longer than this between two sleeps would be overtaken; ours are shorter than ten."""


class SimulatedClock:
    """A ``Clock`` in virtual time, repeatable to the nanosecond.

    Args:
        start_wall_s: seconds since 1970 at the start.
        auto_advance: jump to the next sleeper as soon as the event loop has nothing else to do. Meant for
        code whose
            every wait is on simulated ports; with False only ``advance`` moves the time.
    """

    def __init__(self, *, start_wall_s: float = 1_700_000_000.0, auto_advance: bool = False) -> None:
        self._start_wall_s = start_wall_s
        self._auto_advance = auto_advance
        self._now_ns = 0
        self._wall_shift_s = 0.0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._quiet_turns = 0
        self._watching = False

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the start; wall jumps do not touch it."""
        return self._now_ns

    def wall_s(self) -> float:
        """Return seconds since 1970, jumps included."""
        return self._start_wall_s + self._wall_shift_s + self._now_ns * 1e-9

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or, with a negative number, back; wakes nobody."""
        self._wall_shift_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the virtual time has moved on by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        wake: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self._now_ns + round(seconds * 1e9), next(self._order), wake))
        self._quiet_turns = 0
        if self._auto_advance and not self._watching:
            self._watching = True
            loop.call_soon(self._watch, loop)
        await wake

    async def advance(self, seconds: float) -> None:
        """Move the time on, waking every sleeper at its own moment and letting it run before the next.

        Raises:
            InvalidInputError: time does not go back.
        """
        if seconds < 0:
            raise InvalidInputError(f"time does not go back, found {seconds} s.")
        end_ns = self._now_ns + round(seconds * 1e9)
        await self._let_run()
        while self._next_ns() is not None and self._sleepers[0][0] <= end_ns:
            self._wake_next()
            await self._let_run()
        self._now_ns = end_ns

    @staticmethod
    async def _let_run() -> None:
        for _ in range(_QUIET_TURNS):
            await asyncio.sleep(0)

    def _next_ns(self) -> int | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake_next(self) -> None:
        due_ns, _, wake = heapq.heappop(self._sleepers)
        self._now_ns = max(self._now_ns, due_ns)
        self._quiet_turns = 0
        wake.set_result(None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._next_ns() is None:
            self._watching = False
            return
        self._quiet_turns += 1
        if self._quiet_turns > _QUIET_TURNS:
            self._wake_next()
        loop.call_soon(self._watch, loop)
