"""Every ``Clock`` behaves alike."""

from __future__ import annotations

import asyncio

import pytest
from edgeloop_foundation.ports.clock import Clock, SystemClock
from edgeloop_foundation.ports.simulated_clock import SimulatedClock


@pytest.fixture(params=["system", "simulated"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return SystemClock() if request.param == "system" else SimulatedClock(auto_advance=True)


async def test_sleep_lasts_at_least_as_long_as_asked(clock: Clock) -> None:
    start_ns, start_s = clock.monotonic_ns(), clock.wall_s()
    await clock.sleep(0.02)
    assert clock.monotonic_ns() - start_ns >= 0.02e9
    assert clock.wall_s() - start_s == pytest.approx((clock.monotonic_ns() - start_ns) * 1e-9, abs=0.01)


async def test_sleepers_wake_in_order_of_time(clock: Clock) -> None:
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    await asyncio.gather(sleeper("late", 0.03), sleeper("early", 0.01), sleeper("middle", 0.02))
    assert woken == ["early", "middle", "late"]


async def test_no_sleep_still_lets_others_run(clock: Clock) -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await clock.sleep(0)
    await clock.sleep(-1)
    assert ran.is_set()


async def test_a_cancelled_sleeper_disturbs_nobody(clock: Clock) -> None:
    task = asyncio.create_task(clock.sleep(0.01))
    await asyncio.sleep(0)
    task.cancel()
    await clock.sleep(0.02)
    assert task.cancelled()
