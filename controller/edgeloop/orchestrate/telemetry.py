"""Telemetry of devices: bring it home once, look at what is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, UnsupportedError

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.telemetry import Collected, Retention
from edgeloop.orchestrate.fleet import open_each

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.orchestrate.measure import OpenDevice
    from edgeloop.transport.client import AgentClient

__all__ = ["collect", "collect_from", "collect_once", "trim"]


async def collect_once(
    app: App,
    clients: Sequence[tuple[str, AgentClient | EdgeloopError]],
    *,
    now_s: float | None = None,
    retention: Retention | None = None,
) -> tuple[Collected, ...]:
    """Read what is new from devices that are open already, store it, and cut the store to what is to be kept.

    A device that does not answer never holds up the others; what it noted meanwhile comes with a later pass.

    Args:
        app: has the store.
        clients: name of each device, with its client or with why there is none.
        now_s: controller's clock; this moment when not given.
        retention: what is kept; the default when not given.

    Returns:
        What came of it, in the order of the devices.
    """
    done = await asyncio.gather(*(collect_from(app, name, client, now_s=now_s) for name, client in clients))
    await trim(app, now_s=now_s, retention=retention)
    return tuple(done)


async def collect_from(
    app: App, device: str, client: AgentClient | EdgeloopError, *, now_s: float | None = None
) -> Collected:
    """Read what is new from one device and store it; what goes wrong on the way is written down with it."""
    store = app.telemetry()
    if isinstance(client, EdgeloopError):
        return await asyncio.to_thread(store.note_silence, device, str(client), _now(now_s))
    epoch, sequence = await asyncio.to_thread(store.cursor, device)
    try:
        batch = await client.telemetry.read(epoch, sequence)
        expires_s = await _certificate_expires_s(client)
    except EdgeloopError as error:
        return await asyncio.to_thread(store.note_silence, device, str(error), _now(now_s))
    return await asyncio.to_thread(store.ingest, device, batch, _now(now_s), expires_s)


async def _certificate_expires_s(client: AgentClient) -> float | None:
    try:
        return (await client.identity_status()).not_after_s
    except UnsupportedError:
        return None


def _now(now_s: float | None) -> float:
    return time.time() if now_s is None else now_s


async def trim(app: App, *, now_s: float | None = None, retention: Retention | None = None) -> int:
    """Remove what is not to be kept any longer; return how many samples went."""
    return await asyncio.to_thread(app.telemetry().trim, _now(now_s), retention or Retention())


async def collect(
    app: App, devices: Sequence[DeviceSpec], *, retention: Retention | None = None
) -> tuple[Collected, ...]:
    """Open every device, read what is new, and close it; one that cannot be opened is written down as silent.

    Raises:
        InvalidInputError: two devices have one name, or an option of a device is wrong.
    """

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> Collected:
        client = device if isinstance(device, EdgeloopError) else device.client
        return await collect_from(app, spec.name, client)

    done = await open_each(app, devices, 0, one)
    await trim(app, retention=retention)
    return done
