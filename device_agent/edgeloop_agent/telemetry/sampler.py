"""Takes a sample every few seconds, as cheaply as it was told to."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import resource
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.types.measurement import Reading
from edgeloop_protocol.types.telemetry import ServedTelemetry, TelemetrySample, TelemetryStatus
from edgeloop_protocol.types.vitals import DeviceVitals

from edgeloop_agent.fitness.vitals import ProcessorTime, Seen, events_of, temperature_of, throttled_now
from edgeloop_agent.telemetry.activity import Activity, own_memory_bytes
from edgeloop_agent.telemetry.options import TelemetryOptions
from edgeloop_agent.telemetry.ring import Ring

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["OFF", "Telemetry", "power_of", "sample_of"]

OFF = "telemetry is off on this device; its agent was started with --telemetry-period 0s."
"""Why there are no samples."""

_WATTS = ("W", "watt")
_COSTS_KEPT = 8
_REASON_CHARACTERS = 120

_log = logging.getLogger(__name__)


class Telemetry:
    """The sampler of one device.

    Args:
        ring: keeps the samples.
        options: what it may cost.
        board: what is looked at.
        look: returns how the device is, from a look that is shared with all who watch.
        served: returns the counts of what is served.
        clock: of the agent.
    """

    def __init__(
        self,
        *,
        ring: Ring,
        options: TelemetryOptions,
        board: Board,
        look: Callable[[], Awaitable[DeviceVitals]],
        served: Callable[[], Awaitable[tuple[ServedTelemetry, ...]]],
        clock: Clock,
    ) -> None:
        self.ring, self._options, self._board, self._clock = ring, options, board, clock
        self._look, self._served = look, served
        self._before: ProcessorTime | None = None
        self._costs_s: deque[float] = deque(maxlen=_COSTS_KEPT)
        self._task: asyncio.Task[None] | None = None

    @property
    def period_s(self) -> float:
        """Time between two samples: as asked for, or longer where that would cost too much."""
        # The least of the last few: what others of this process used meanwhile only adds.
        cost_s = min(self._costs_s, default=0.0)
        return max(self._options.period_s, cost_s / self._options.processor_share_max)

    def status(self) -> TelemetryStatus:
        """Return how the ring stands."""
        stretched = self.period_s > self._options.period_s
        wanted = f"a sample every {self._options.period_s:g} s would take more of a processor than it may."
        return self.ring.status(
            period_s=self.period_s, wall_s=self._clock.wall_s(), reason=wanted if stretched else ""
        )

    def start(self) -> None:
        """Sample from now on."""
        self._task = asyncio.create_task(self._run(), name="telemetry")

    async def stop(self) -> None:
        """Sample no more and make durable what is there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.to_thread(self.ring.close)

    async def _run(self) -> None:
        while True:
            await self.sample()
            await self._clock.sleep(self.period_s)

    async def sample(self) -> None:
        """Take one sample; one that cannot be taken is counted as dropped."""
        began_s = time.process_time()
        try:
            vitals, activity, served = await self._look(), await self._board.activity(), await self._served()
            sample = sample_of(vitals, activity, self._before, served)
            self._before = activity.processors.value
        except (EdgeloopError, OSError, ValueError, ArithmeticError) as error:
            await asyncio.to_thread(self.ring.skip, f"the device could not be looked at: {error}")
            return
        await asyncio.to_thread(self.ring.append, sample)
        self._costs_s.append(time.process_time() - began_s)


def sample_of(
    vitals: DeviceVitals,
    activity: Activity,
    before: ProcessorTime | None,
    served: tuple[ServedTelemetry, ...] = (),
) -> TelemetrySample:
    """Return what a look found as a sample without a number; pure but for the agent's own figures.

    Args:
        vitals: the look.
        activity: counters since boot.
        before: processor time at the sample before; absent at the first.
        served: what is served.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    network = activity.network.value
    seen: dict[str, Seen[float] | Seen[int]] = {
        "cpu_busy_share": _busy_share(before, activity.processors),
        "load_average_1min": _told(vitals.load_average_1min),
        "available_memory_bytes": _told(vitals.available_memory_bytes),
        "temperature_celsius": temperature_of(vitals.readings),
        "frequency_hz": _told(vitals.frequency_hz, "no clock sensor"),
        "throttle_event_count": _told(events_of(vitals.readings), "no throttle sensor that counts"),
        "power_w": power_of(vitals.readings),
        "disk_free_bytes": _told(vitals.disk_free_bytes),
        "disk_total_bytes": activity.disk_total_bytes,
        "network_received_bytes": Seen(value=network.received)
        if network
        else Seen(reason=activity.network.reason),
        "network_sent_bytes": Seen(value=network.sent) if network else Seen(reason=activity.network.reason),
        "agent_memory_bytes": own_memory_bytes(),
    }
    absent = {name: one.reason for name, one in seen.items() if one.value is None}
    throttled = throttled_now(vitals.readings)
    if throttled.value is None:
        absent["throttled"] = throttled.reason
    empty = TelemetrySample(
        sequence=0,
        wall_s=vitals.wall_s,
        throttled=throttled.value or (),
        agent_cpu_s=usage.ru_utime + usage.ru_stime,
        spool_waiting_count=vitals.spool_waiting_count,
        look_age_s=vitals.age_s,
        served=served,
        absent=tuple((name, reason[:_REASON_CHARACTERS]) for name, reason in sorted(absent.items())),
    )
    return dataclasses.replace(empty, **{name: one.value for name, one in seen.items()})  # type: ignore[arg-type]


def _told(value: float | None, reason: str = "this board does not tell") -> Seen[float]:
    return Seen(value=value) if value is not None else Seen(reason=reason)


def _busy_share(before: ProcessorTime | None, now: Seen[ProcessorTime]) -> Seen[float]:
    after = now.value
    if after is None:
        return Seen(reason=now.reason)
    if before is None or after.total_s <= before.total_s:
        return Seen(reason="the first sample has none before it")
    return Seen(value=min(1.0, max(0.0, (after.busy_s - before.busy_s) / (after.total_s - before.total_s))))


def power_of(readings: tuple[Reading, ...]) -> Seen[float]:
    """Return the board's power: a channel that is the total, or the only one there is."""
    watts = [reading for reading in readings if reading.unit in _WATTS]
    chosen = [reading for reading in watts if reading.name.endswith("/total")] or watts
    if not chosen:
        return Seen(reason="no sensor of power")
    if len(chosen) > 1:
        return Seen(reason=f"{len(chosen)} rails and no total: {', '.join(_names(chosen))}")
    value = chosen[0].value
    return Seen(value=value) if value is not None else Seen(reason=chosen[0].reason, unreadable=True)


def _names(readings: list[Reading]) -> Iterator[str]:
    return (reading.name for reading in readings[:4])
