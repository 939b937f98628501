"""Job time passes at once, or at the pace of the wall clock."""

from __future__ import annotations

import time

import pytest
from edgeloop_agent.simulate.clock import SimulatedJobClock


@pytest.mark.parametrize(("pace", "least_s"), [(0.0, 0.0), (10.0, 0.2), (20.0, 0.1)])
async def test_a_sleep_takes_what_the_pace_makes_of_it(pace: float, least_s: float) -> None:
    clock, begin = SimulatedJobClock(pace=pace), time.monotonic()
    await clock.sleep(2.0)
    assert clock.monotonic_ns() == 2_000_000_000
    assert time.monotonic() - begin >= least_s


async def test_without_a_pace_a_day_passes_at_once() -> None:
    clock, begin = SimulatedJobClock(), time.monotonic()
    await clock.sleep(86_400.0)
    assert time.monotonic() - begin < 60


async def test_wall_time_that_has_passed_anyway_is_not_waited_for_again() -> None:
    clock = SimulatedJobClock(pace=1.0)
    begin_s = time.monotonic() - 3600.0
    clock.advance_ns(3_000_000_000_000)
    await clock.keep_pace(0, begin_s)
    assert time.monotonic() - begin_s < 3600.0 + 300.0
