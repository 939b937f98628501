"""Committed models served on their devices: begin, look, end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.types.serving import ServingSpec, ServingState, ServingStatus

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.deploy import audit_log
from edgeloop.orchestrate.fleet import open_fleet
from edgeloop.orchestrate.measure import OpenDevice

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["ServedDevice", "serve", "served", "stop_serving"]

_ASK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDevice:
    """What one device serves after a verb."""

    #: The device.
    device: DeviceSpec
    #: What it serves.
    statuses: tuple[ServingStatus, ...] = ()
    #: Why it could not be done; empty when it was.
    error: str = ""
    #: Whether the device was reached.
    reached: bool = True


async def serve(
    app: App, spec: ServingSpec, devices: Sequence[DeviceSpec], *, wait_s: float
) -> tuple[ServedDevice, ...]:
    """Serve a deployment on every device, and wait until each answers, at most ``wait_s``.

    Raises:
        CorruptDataError: the audit log is broken.
    """

    async def one(device: OpenDevice) -> ServedDevice:
        status = await device.client.serving.serve(spec)
        ends_s = time.monotonic() + wait_s
        while status.state is ServingState.STARTING and not status.reason and time.monotonic() < ends_s:
            await asyncio.sleep(_ASK_EVERY_S)
            found = [known for known in await device.client.serving.listing() if known.spec.name == spec.name]
            status = found[0] if found else status
        ready = status.state is ServingState.READY
        error = "" if ready else status.reason or f"it is not ready after {wait_s:g} s"
        return ServedDevice(device=device.spec, statuses=(status,), error=error)

    return await _on_each(app, devices, f"serve {spec.name}", one)


async def served(app: App, devices: Sequence[DeviceSpec]) -> tuple[ServedDevice, ...]:
    """Ask every device what it serves."""

    async def one(device: OpenDevice) -> ServedDevice:
        return ServedDevice(device=device.spec, statuses=await device.client.serving.listing())

    return await _on_each(app, devices, "", one)


async def stop_serving(app: App, name: str, devices: Sequence[DeviceSpec]) -> tuple[ServedDevice, ...]:
    """Serve a deployment no more on every device.

    Raises:
        CorruptDataError: the audit log is broken.
    """

    async def one(device: OpenDevice) -> ServedDevice:
        was_served = await device.client.serving.stop(name)
        error = "" if was_served else f"it did not serve {name}"
        return ServedDevice(device=device.spec, statuses=await device.client.serving.listing(), error=error)

    return await _on_each(app, devices, f"stop serving {name}", one)


async def _on_each(
    app: App,
    devices: Sequence[DeviceSpec],
    action: str,
    work: Callable[[OpenDevice], Awaitable[ServedDevice]],
) -> tuple[ServedDevice, ...]:
    """Do the same on every device, one after the other, and write down what changed something."""
    log, results = audit_log(app.state_directory) if action else None, []
    async with open_fleet(app, devices, seed=0) as fleet:
        for spec, device in fleet:
            try:
                if isinstance(device, EdgeloopError):
                    raise device
                done = await work(device)
            except EdgeloopError as error:
                reached = not isinstance(device, EdgeloopError)
                done = ServedDevice(device=spec, error=str(error), reached=reached)
            results.append(done)
            if log is not None:
                log.append(action, spec.name, done.error or "done")
    return tuple(results)
