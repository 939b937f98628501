"""Watches one device: how it is now, again and again, also over times in which it is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import (
    DeadlineError,
    EdgeloopError,
    StateError,
    UnavailableError,
)
from edgeloop_protocol.types.lease import Availability
from edgeloop_protocol.types.vitals import DeviceVitals

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.inventory import AvailabilityNotes

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.transport.client import AgentClient

__all__ = ["Sight", "drop", "watch_device"]

_PASSING = (UnavailableError, DeadlineError, StateError)
"""What a board that restarts looks like; everything else is told and ends the watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen at one moment: the device's vitals, or why there are none."""

    #: The device's name.
    device: str
    #: When it was asked, seconds since 1970 by the controller's clock.
    asked_s: float
    #: The answer; absent while it does not answer.
    vitals: DeviceVitals | None = None
    #: Why there is none; empty with one.
    reason: str = ""
    #: For how long it has not answered, or had not when it came back; 0 otherwise.
    away_s: float = 0.0
    #: Whether it gives out leases, and who drained it when it does not; absent while it does not answer.
    availability: Availability | None = None


async def watch_device(
    app: App, spec: DeviceSpec, *, interval_s: float, count: int = 0
) -> AsyncGenerator[Sight, None]:
    """Yield what is seen of a device every ``interval_s``; ``count`` times, or for ever when that is 0.

    A device that does not answer is asked again at the next turn, over a new connection.

    Raises:
        EdgeloopError: what no waiting mends: the agent is too old, the identity is refused, no such profile.
    """
    loop = asyncio.get_running_loop()
    client: AgentClient | None = None
    gone_since: float | None = None
    notes = AvailabilityNotes(app.state_directory, spec)
    async with AsyncExitStack() as stack:
        turn, due = 0, loop.time()
        while not count or turn < count:
            await asyncio.sleep(max(0.0, due - loop.time()))
            turn, started = turn + 1, loop.time()
            due = started + interval_s
            asked_s = time.time()
            try:
                if client is None:
                    client = await stack.enter_async_context(app.connect(spec, 0))
                vitals, availability = await client.vitals(), await client.availability()
            except _PASSING as error:
                await drop(stack)
                client = None
                gone_since = started if gone_since is None else gone_since
                yield Sight(
                    device=spec.name, asked_s=asked_s, reason=error.message, away_s=loop.time() - gone_since
                )
                continue
            notes.hear(availability)
            away_s = 0.0 if gone_since is None else loop.time() - gone_since
            gone_since = None
            yield Sight(
                device=spec.name, asked_s=asked_s, vitals=vitals, away_s=away_s, availability=availability
            )


async def drop(stack: AsyncExitStack) -> None:
    """Close connections of which some may be gone already."""
    try:
        await stack.aclose()
    except EdgeloopError:
        return  # what is gone cannot be closed properly
