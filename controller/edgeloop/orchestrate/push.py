"""Bringing a kept artifact to many devices at once, within what each push may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.orchestrate.fleet import open_each
from edgeloop.orchestrate.leasing import leased
from edgeloop.orchestrate.measure import OpenDevice

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.transport.client import PushLimits, PushResult

__all__ = ["Pushed", "push_artifact"]

_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """How a push to one device went."""

    device: DeviceSpec
    #: What it took; absent when it failed.
    result: PushResult | None = None
    #: Why it failed; empty when it did not.
    error: str = ""
    #: Whether it failed because it would have cost more than it may.
    over_budget: bool = False


async def push_artifact(
    app: App, artifact: str, devices: Sequence[DeviceSpec], limits: PushLimits, listener: Listener
) -> tuple[Pushed, ...]:
    """Bring an artifact, named by the beginning of its digest, to every device; up to 16 at once.

    All read its files through one reader. A device that fails or is slow holds up no other.

    Raises:
        NotFoundError: no such artifact.
    """
    digest = app.artifacts.find(artifact)
    places = asyncio.Semaphore(_AT_ONCE)
    listener.phase(f"push {digest[:12]}")

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> Pushed:
        if isinstance(device, EdgeloopError):
            return Pushed(device=spec, error=str(device))
        async with places:
            return await _push(app, device, digest, limits, listener)

    return await open_each(app, devices, 0, one)


async def _push(app: App, device: OpenDevice, digest: str, limits: PushLimits, listener: Listener) -> Pushed:
    from edgeloop.transport.rpc.pace import OverBudgetError

    def tell(done: int, total: int) -> None:
        listener.progress(f"{device.spec.name}: send", done, total, "B")

    try:
        async with leased(app, device.client, shared=True, listener=listener):
            result = await device.client.push_artifact(digest, app.artifacts, tell, limits)
    except EdgeloopError as error:
        over = isinstance(error, OverBudgetError)
        return Pushed(device=device.spec, error=str(error), over_budget=over)
    return Pushed(device=device.spec, result=result)
