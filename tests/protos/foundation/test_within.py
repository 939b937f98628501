"""Waiting that ends: by its result, its time or the end of who waits, none of which is lost."""

from __future__ import annotations

import asyncio

import pytest
from edgeloop_foundation.within import within


async def test_the_result_comes_and_what_was_raised_is_raised() -> None:
    async def fails() -> None:
        raise KeyError("no")

    assert await within(asyncio.sleep(0, "yes"), 60.0) == "yes"
    with pytest.raises(KeyError):
        await within(fails(), 60.0)


async def test_what_takes_too_long_is_cancelled_and_waited_for() -> None:
    steps = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    with pytest.raises(asyncio.TimeoutError):
        await within(slow(), 0.01)
    assert steps == ["cleaned up"]


async def test_what_ends_with_something_else_when_it_is_late_says_so() -> None:
    async def slow(told: str) -> str:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            if told:
                return told
            raise KeyError("broken") from None
        return "never"

    assert await within(slow("just in time"), 0.01) == "just in time"
    with pytest.raises(KeyError):
        await within(slow(""), 0.01)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_in_the_turn_of_the_result_is_not_lost(fails: bool) -> None:
    result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(result, 60.0))
    await asyncio.sleep(0)
    if fails:
        result.set_exception(KeyError("lost, and not complained about"))
    else:
        result.set_result("lost")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_is_cancelled_takes_what_it_waits_for_along() -> None:
    inner = asyncio.create_task(asyncio.sleep(60.0))
    waiting = asyncio.create_task(within(inner, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert inner.cancelled()
