"""The clock of a simulated board: accelerated, or at the pace of the wall clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgeloop_agent.simulate.stress import Stress

__all__ = ["SimulatedJobClock"]


class SimulatedJobClock:
    """Job time: stands still while nothing is simulated, and jumps by what is.

    Wall time stays that of this machine, so that leases and deadlines mean what they say.

    Args:
        idle: lets the board idle for so many seconds whenever somebody sleeps, and with it this clock move.
        on_pass: told the job time whenever some has passed.
        stress: of the board; its clock may be wrong.
        pace: seconds of job time that pass in one of wall time; 0 lets job time pass at once.
    """

    def __init__(
        self,
        idle: Callable[[float], None] | None = None,
        on_pass: Callable[[int], None] | None = None,
        stress: Stress | None = None,
        pace: float = 0.0,
    ) -> None:
        self._now_ns = 0
        self._pace = pace
        self._idle = idle
        self._on_pass = on_pass
        self._stress = stress or Stress()

    def monotonic_ns(self) -> int:
        """Return simulated nanoseconds since the board was started."""
        return self._now_ns

    def wall_s(self) -> float:
        """Return ``time.time()``, as far off as the board's clock is."""
        return time.time() + self._stress.skew_s

    async def sleep(self, seconds: float) -> None:
        """Let job time pass, at once or at the board's pace; other tasks get their turn."""
        begin_ns, begin_s = self._now_ns, time.monotonic()
        if self._idle is not None:
            self._idle(max(0.0, seconds))
        else:
            self.advance_ns(max(0, round(seconds * 1e9)))
        await self.keep_pace(begin_ns, begin_s)

    async def keep_pace(self, begin_ns: int, begin_s: float) -> None:
        """Wait until as much wall time has passed since a moment as the job time since then needs at this pace.

        Args:
            begin_ns: job time of that moment.
            begin_s: the same moment by ``time.monotonic()``.
        """
        if self._pace == 0:
            await asyncio.sleep(0)
            return
        due_s = begin_s + (self._now_ns - begin_ns) / 1e9 / self._pace
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    def advance_ns(self, duration_ns: int) -> None:
        """Let this much job time pass."""
        self._now_ns += duration_ns
        if self._on_pass is not None:
            self._on_pass(self._now_ns)
