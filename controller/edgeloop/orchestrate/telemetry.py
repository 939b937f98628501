"""Telemetry of devices: bring it home once, look at what is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, UnsupportedError

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.telemetry import (
    DAY_S,
    QUANTITIES,
    SERVED_QUANTITIES,
    Collected,
    Retention,
    Shown,
    TelemetryBatch,
)
from edgeloop.observe.windows import served_windows
from edgeloop.orchestrate.fleet import open_each

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.orchestrate.measure import OpenDevice
    from edgeloop.transport.client import AgentClient

__all__ = ["collect", "collect_from", "look", "trim"]


async def collect_from(
    app: App, device: str, client: AgentClient | EdgeloopError, *, now_s: float | None = None
) -> Collected:
    """Read what is new from one device and store it; what goes wrong on the way is written down with it."""
    reading = await _read(app, device, client)
    (done,) = await asyncio.to_thread(app.telemetry().ingest_all, [reading], _now(now_s))
    return done


async def _read(
    app: App, device: str, client: AgentClient | EdgeloopError
) -> tuple[str, TelemetryBatch | str, float | None]:
    """Return what is new on a device, or why it did not answer."""
    if isinstance(client, EdgeloopError):
        return device, str(client), None
    epoch, sequence = await asyncio.to_thread(app.telemetry().cursor, device)
    try:
        return device, await client.telemetry.read(epoch, sequence), await _certificate_expires_s(client)
    except EdgeloopError as error:
        return device, str(error), None


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


def look(app: App, device: str, *, now_s: float, since_s: float, steps: int) -> Shown:
    """Return what was collected from a device over the last ``since_s`` seconds, in as many steps.

    Raises:
        NotFoundError: nothing was ever collected from it.
    """
    store, begin_s = app.telemetry(), now_s - since_s
    known = store.device(device)
    # The sample of this very moment is in it.
    ends_s, step_s = now_s + since_s / steps, since_s / steps
    series = [store.series(device, quantity, begin_s, ends_s, step_s) for quantity in QUANTITIES]
    served_series = [
        store.series(device, quantity, begin_s, ends_s, step_s, model=model)
        for model in store.served_models(device, begin_s, ends_s)
        for quantity in SERVED_QUANTITIES
    ]
    samples = store.samples(device, begin_s, now_s, served_only=True)
    return Shown(
        device=known,
        since_s=begin_s,
        series=tuple(one for one in series if one.points),
        served_series=tuple(one for one in served_series if one.points),
        served=served_windows(device, [sample for _, sample in samples]),
        traffic=tuple(one for one in store.traffic(now_s - 7 * DAY_S) if one.device == device),
        alerts=store.alerts.open_alerts(device),
    )
