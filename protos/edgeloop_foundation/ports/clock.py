"""Time: monotonic for durations, wall for people, sleep for waiting."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """A source of time."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back; only differences mean anything."""
        ...

    def wall_s(self) -> float:
        """Return seconds since 1970; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for this long."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic_ns(self) -> int:
        """Return ``time.monotonic_ns()``."""
        return time.monotonic_ns()

    def wall_s(self) -> float:
        """Return ``time.time()``."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(seconds)
