"""Waiting for something, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(work: Awaitable[T], seconds: float) -> T:
    """Return what ``work`` comes to; when it takes longer, or the caller is cancelled, it is cancelled and waited for.

    ``asyncio.wait_for`` before Python 3.12 drops a cancellation that arrives in the same turn of the loop as the
    result (CPython issue 86296): a loop around it then never ends. Here a cancelled caller is always cancelled.

    Raises:
        asyncio.TimeoutError: the time is over.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        late = not task.done()
    except asyncio.CancelledError:
        await _ended(task)
        raise
    if late:
        await _ended(task)
        if task.cancelled():
            raise asyncio.TimeoutError
    return task.result()


async def _ended(task: asyncio.Future[T]) -> None:
    """Cancel it, wait for its end and take note of what it raised."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
