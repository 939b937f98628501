"""Whether something can be used on this board: tried when it is first wanted, and never again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["TriedOnce"]


class TriedOnce:
    """One trial and what came of it.

    Args:
        attempt: tries it; returns why it cannot be used, an empty text when it can.
    """

    def __init__(self, attempt: Callable[[], Awaitable[str]]) -> None:
        self._attempt = attempt
        self._refusal: str | None = None
        self._trying = asyncio.Lock()

    async def refusal(self) -> str:
        """Return why it cannot be used here; empty when it can. Who asks during the trial waits for it."""
        async with self._trying:
            if self._refusal is None:
                self._refusal = await self._attempt()
            return self._refusal
