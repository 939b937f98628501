"""The accelerated clock of a simulated board."""

from __future__ import annotations

import asyncio
import time

__all__ = ["SimulatedJobClock"]


class SimulatedJobClock:
    """Job time: stands still while nothing is simulated, and jumps by what is.

    Wall time stays that of this machine, so that leases and deadlines mean what they say.
    """

    def __init__(self) -> None:
        self._now_ns = 0

    def monotonic_ns(self) -> int:
        """Return simulated nanoseconds since the board was started."""
        return self._now_ns

    def wall_s(self) -> float:
        """Return ``time.time()``."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Let job time pass at once; other tasks get their turn."""
        self.advance_ns(max(0, round(seconds * 1e9)))
        await asyncio.sleep(0)

    def advance_ns(self, duration_ns: int) -> None:
        """Let this much job time pass."""
        self._now_ns += duration_ns
