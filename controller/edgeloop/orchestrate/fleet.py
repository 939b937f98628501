"""Opens many devices at once; one that does not answer never holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, MissingDependencyError, NotFoundError

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, Listener
from edgeloop.orchestrate.identity import keep_own_quietly, keep_quietly
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["Fleet", "measure_fleet", "open_fleet", "require_unique_names"]

Fleet = tuple[tuple[DeviceSpec, OpenDevice | EdgeloopError], ...]
"""Every device as asked for, open or with the reason why not."""


def require_unique_names(devices: Sequence[DeviceSpec]) -> None:
    """Refuse two devices of one name, and no devices at all.

    Raises:
        InvalidInputError: see above.
    """
    names = [device.name for device in devices]
    if not names:
        raise InvalidInputError(
            "no device is named.", next_step="Use --on local, or --on sim:raspberry_pi_5."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(
            f"the device name {twice[0]!r} is used twice.",
            next_step=f"Name them apart, for example a={twice[0]},b={twice[0]} in their full form.",
        )


@asynccontextmanager
async def open_fleet(app: App, devices: Sequence[DeviceSpec], seed: int) -> AsyncIterator[Fleet]:
    """Open every device and probe its facts; close them all at the end."""
    require_unique_names(devices)
    keep_own_quietly(app.state_directory)
    async with AsyncExitStack() as stack:
        lock = asyncio.Lock()

        async def open_one(spec: DeviceSpec) -> OpenDevice | EdgeloopError:
            try:
                transport = app.connect(spec, seed)
                client = await transport.__aenter__()
                async with lock:
                    stack.push_async_exit(transport)
                if spec.transport == "grpc":
                    await keep_quietly(client, spec, app.state_directory)
                return OpenDevice(
                    spec=spec, transport=transport, client=client, facts=await client.describe()
                )
            except (InvalidInputError, NotFoundError, MissingDependencyError):
                raise  # the user's mistake, not the device's
            except EdgeloopError as error:
                return error

        opened = await asyncio.gather(*(open_one(spec) for spec in devices))
        yield tuple(zip(devices, opened, strict=True))


async def measure_fleet(
    app: App, fleet: Fleet, request: MeasureRequest, listener: Listener
) -> tuple[DeviceResult, ...]:
    """Measure on every open device.

    This machine is measured last and alone: simulated boards check parity on this machine's processors, and their work
    must not stand in the latency of the real device.
    """
    results: dict[str, DeviceResult] = {}

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> None:
        if isinstance(device, EdgeloopError):
            results[spec.name] = DeviceResult(device=spec, error=str(device))
        else:
            results[spec.name] = await measure_device(app, device, request, listener)

    elsewhere = [entry for entry in fleet if entry[0].transport != "local"]
    here = [entry for entry in fleet if entry[0].transport == "local"]
    await asyncio.gather(*(one(*entry) for entry in elsewhere))
    for entry in here:
        await one(*entry)
    return tuple(results[spec.name] for spec, _ in fleet)
