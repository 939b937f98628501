"""How fast one device may be sent to, and how much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edgeloop_foundation.errors import BusyError, InvalidInputError

__all__ = ["OverBudgetError", "Pace", "PushLimits"]

_MESSAGES_PER_S = 8
_MESSAGE_BYTES_MIN = 4096


class OverBudgetError(BusyError):
    """A push would send more than it may; nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushLimits:
    """What a push to one device may cost."""

    #: Most content bytes to send; absent for any number. What a broken connection makes us send again is beside it.
    max_bytes: int | None = None
    #: Most bytes a second; absent for as fast as it goes.
    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 0:
            raise InvalidInputError(f"a push sends 0 or more bytes, not at most {self.max_bytes}.")
        if self.bytes_per_s is not None and not 1024 <= self.bytes_per_s < float("inf"):
            raise InvalidInputError(
                f"a push is limited to 1024 bytes a second or more, not to {self.bytes_per_s:g}."
            )


class Pace:
    """Lets bytes go at a rate: each message waits until those before it have had their time."""

    def __init__(
        self,
        bytes_per_s: float | None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._now_s = now_s
        self._sleep = sleep
        self._due_s = 0.0

    def message_bytes(self, largest: int) -> int:
        """Return the size of messages: small enough that a slow rate is kept within a fraction of a second."""
        if self.bytes_per_s is None:
            return largest
        return min(largest, max(_MESSAGE_BYTES_MIN, int(self.bytes_per_s / _MESSAGES_PER_S)))

    async def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may go."""
        if self.bytes_per_s is None:
            return
        now_s = self._now_s()
        start_s = max(now_s, self._due_s)
        self._due_s = start_s + size_bytes / self.bytes_per_s
        if start_s > now_s:
            await self._sleep(start_s - now_s)
