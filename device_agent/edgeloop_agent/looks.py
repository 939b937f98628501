"""Looks at the device for people who watch it: few, shared, and rarer still while a job runs.

A look reads every sensor, which keeps a processor busy for milliseconds. However many watch and however often they
ask, the device is looked at no more than twice a second when it is idle and every ten seconds while a job runs;
in between everybody gets the last look with its age. What costs nothing (lease, job, spool) is always of this moment.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.types.lease import holder_text, is_shared
from edgeloop_protocol.types.vitals import DeviceVitals

from edgeloop_agent.fitness.vitals import frequency_of, temperature_of, throttled_now
from edgeloop_agent.jobs import Jobs
from edgeloop_agent.leases import Leases
from edgeloop_agent.spool import Spool

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["LOOK_BUSY_S", "LOOK_IDLE_S", "Looks"]

LOOK_IDLE_S = 0.5
"""Shortest time between two looks at an idle device."""

LOOK_BUSY_S = 10.0
"""Shortest time between two looks while a job runs: 5 ms of reading in each are half a thousandth of one processor."""

_NS = 1e-9


class Looks:
    """What everybody who watches is answered from."""

    def __init__(self, *, board: Board, leases: Leases, jobs: Jobs, spool: Spool, clock: Clock) -> None:
        self._board = board
        self._leases = leases
        self._jobs = jobs
        self._spool = spool
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._last: DeviceVitals | None = None
        self._last_ns = 0
        #: How often the device was really looked at.
        self.look_count = 0

    async def look(self) -> DeviceVitals:
        """Return how the device is, from a look that may be up to ``LOOK_BUSY_S`` old."""
        async with self._one_at_a_time:
            now_ns = self._clock.monotonic_ns()
            pause_s = LOOK_IDLE_S if self._jobs.running is None else LOOK_BUSY_S
            last = self._last
            if last is None or (now_ns - self._last_ns) * _NS >= pause_s:
                last = self._last = await self._fresh()
                now_ns = self._last_ns = self._clock.monotonic_ns()
        leases = self._leases.listing()
        return dataclasses.replace(
            last,
            wall_s=self._clock.wall_s(),
            age_s=max(0.0, (now_ns - self._last_ns) * _NS),
            lease_holder=holder_text(leases),
            lease_shared=is_shared(leases),
            job=self._jobs.running,
            spool_waiting_count=self._spool.waiting_count,
        )

    async def _fresh(self) -> DeviceVitals:
        self.look_count += 1
        started_s, cpu_s = time.perf_counter(), time.process_time()
        seen = await self._board.conditions()
        return DeviceVitals(
            wall_s=self._clock.wall_s(),
            look_s=time.perf_counter() - started_s,
            look_cpu_s=time.process_time() - cpu_s,
            load_average_1min=seen.load_average_1min,
            temperature_celsius=temperature_of(seen.readings).value,
            frequency_hz=frequency_of(seen.readings),
            governor=seen.governor or "",
            throttled=throttled_now(seen.readings).value or (),
            available_memory_bytes=seen.available_memory_bytes,
            disk_free_bytes=seen.free_disk_bytes,
            clock_synchronised=seen.clock_synchronised,
            readings=seen.readings,
        )
