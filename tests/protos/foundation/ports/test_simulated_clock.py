"""Virtual time."""

from __future__ import annotations

import asyncio
import time

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.simulated_clock import SimulatedClock


async def test_time_stands_still_until_moved() -> None:
    clock = SimulatedClock()
    task = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0.01)
    assert not task.done()
    await clock.advance(9.999)
    assert not task.done()
    await clock.advance(0.001)
    assert task.done()
    assert clock.monotonic_ns() == 10_000_000_000


async def test_each_sleeper_wakes_at_its_own_moment() -> None:
    clock = SimulatedClock()
    seen: list[float] = []

    async def ticking() -> None:
        while True:
            await clock.sleep(1.5)
            seen.append(clock.monotonic_ns() * 1e-9)

    task = asyncio.create_task(ticking())
    await clock.advance(5)
    assert seen == [1.5, 3.0, 4.5]
    assert clock.monotonic_ns() == 5_000_000_000
    task.cancel()


async def test_a_day_passes_at_once_when_all_wait() -> None:
    clock = SimulatedClock(auto_advance=True)
    start = time.monotonic()
    for _ in range(24):
        await asyncio.gather(clock.sleep(3600), clock.sleep(1800))
    assert clock.monotonic_ns() == 24 * 3600 * 10**9
    assert time.monotonic() - start < 2


async def test_wall_jumps_leave_the_monotonic_clock_alone() -> None:
    clock = SimulatedClock(start_wall_s=1000.0)
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    clock.jump_wall(-400)
    assert (clock.wall_s(), clock.monotonic_ns()) == (600.0, 0)
    clock.jump_wall(1e6)
    await asyncio.sleep(0)
    assert not task.done()
    await clock.advance(5)
    assert task.done()
    assert clock.wall_s() == 1000.0 - 400 + 1e6 + 5


async def test_time_does_not_go_back() -> None:
    with pytest.raises(InvalidInputError, match="back"):
        await SimulatedClock().advance(-1)
