"""Opens many devices at once; one that does not answer never holds up the others."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from edgeloop_foundation.errors import (
    BusyError,
    EdgeloopError,
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
)

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.identity import keep_own_quietly, keep_quietly
from edgeloop.orchestrate.inventory import keep_facts_quietly
from edgeloop.orchestrate.measure import OpenDevice

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = [
    "Fleet",
    "Opening",
    "allow_descriptors",
    "on_each",
    "open_device",
    "open_each",
    "open_fleet",
    "open_one",
    "opening",
    "require_unique_names",
]

T = TypeVar("T")

# Boards that are simulated here share this machine's processors: more at once would only make each wait longer, and
# its heartbeats with it.
_SIMULATED_AT_ONCE = 4 * len(os.sched_getaffinity(0))

# Devices of their own, and boards that keep to the wall clock, mostly wait. This only bounds what the controller holds.
_OTHERS_AT_ONCE = 64

_DESCRIPTORS_SPARE = 200
"""Files of this process besides the channels to devices."""

_STARTED_HERE = ("local", "simulated")
"""Transports that start their agent themselves: it answers, or ends, for certain."""

Opened = OpenDevice | EdgeloopError
"""A device that is open, or why it is not."""

Fleet = tuple[tuple[DeviceSpec, Opened], ...]
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


class _Turns:
    """Lets devices work some at a time; those that are simulated here at once have turns of their own."""

    def __init__(self) -> None:
        self._simulated = asyncio.Semaphore(_SIMULATED_AT_ONCE)
        self._others = asyncio.Semaphore(_OTHERS_AT_ONCE)

    def of(self, spec: DeviceSpec) -> AbstractAsyncContextManager[None]:
        """Return what a device's work stands in."""
        return self._simulated if spec.on_this_machine else self._others


def allow_descriptors(device_count: int) -> None:
    """Raise this process's limit of open files where so many channels need it.

    Raises:
        BusyError: the system does not allow as many.
    """
    needed = device_count + _DESCRIPTORS_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BusyError(
            f"{device_count} devices need {needed} open files, this system allows {hard}.",
            next_step="Raise the limit (ulimit -Hn), or name fewer devices.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@asynccontextmanager
async def open_fleet(app: App, devices: Sequence[DeviceSpec], seed: int) -> AsyncIterator[Fleet]:
    """Open every device and probe its facts; close them all at the end."""
    async with opening(app, devices, seed) as begun:
        yield await begun.all()


@asynccontextmanager
async def open_one(app: App, spec: DeviceSpec, seed: int = 0) -> AsyncIterator[OpenDevice]:
    """Open a device that nothing can be done without, and close it at the end.

    Raises:
        EdgeloopError: it cannot be opened.
    """
    async with open_fleet(app, (spec,), seed) as ((_, device),):
        if isinstance(device, EdgeloopError):
            raise device
        yield device


def _get_ready(app: App, devices: Sequence[DeviceSpec]) -> None:
    require_unique_names(devices)
    allow_descriptors(len(devices))
    keep_own_quietly(app.state_directory)


async def open_device(app: App, spec: DeviceSpec, seed: int, stack: AsyncExitStack) -> Opened:
    """Open one device until the stack is closed, or return why it is not open; the user's mistakes are raised."""
    try:
        transport = app.connect(spec, seed)
        client = await stack.enter_async_context(transport)
        if spec.transport == "grpc":
            await keep_quietly(client, spec, app.state_directory)
        facts = await client.describe()
        keep_facts_quietly(app.state_directory, spec, facts)
        return OpenDevice(spec=spec, transport=transport, client=client, facts=facts)
    except (InvalidInputError, NotFoundError, MissingDependencyError):
        raise  # the user's mistake, not the device's
    except EdgeloopError as error:
        return error


async def open_each(
    app: App,
    devices: Sequence[DeviceSpec],
    seed: int,
    work: Callable[[DeviceSpec, Opened], Awaitable[T]],
) -> tuple[T, ...]:
    """Open every device, do a piece of work on it as soon as it is open, and close it; none waits for another one.

    This machine comes last and alone, as in ``on_each``. What the work raises ends the work on the others.

    Returns:
        What came of it, in the order of the devices.
    """
    _get_ready(app, devices)
    for spec in devices:
        app.connect(spec, seed)  # an option that is wrong ends everything before anything has begun
    turns = _Turns()

    async def one(spec: DeviceSpec) -> T:
        async with turns.of(spec), AsyncExitStack() as stack:
            return await work(spec, await open_device(app, spec, seed, stack))

    return await _each(devices, one)


async def _each(
    devices: Sequence[DeviceSpec], one: Callable[[DeviceSpec], Coroutine[Any, Any, T]]
) -> tuple[T, ...]:
    """Do one thing on every device at once, on this machine last and alone; return what came of it, in their order."""
    results: dict[str, T] = {}

    async def keep(spec: DeviceSpec) -> None:
        results[spec.name] = await one(spec)

    await _all_or_none([keep(spec) for spec in devices if spec.transport != "local"])
    for spec in devices:
        if spec.transport == "local":
            await keep(spec)
    return tuple(results[spec.name] for spec in devices)


class Opening:
    """Devices that open in the background, all at once, and stay open; see ``opening``."""

    def __init__(
        self, devices: Sequence[DeviceSpec], open_one: Callable[[DeviceSpec], Coroutine[Any, Any, Opened]]
    ) -> None:
        self._turns = _Turns()
        self._tasks = {spec: asyncio.create_task(self._in_turn(spec, open_one)) for spec in devices}

    async def _in_turn(
        self, spec: DeviceSpec, open_one: Callable[[DeviceSpec], Coroutine[Any, Any, Opened]]
    ) -> Opened:
        async with self._turns.of(spec):
            return await open_one(spec)

    def answered(self) -> Fleet:
        """Return the devices that have answered so far, or have been given up."""
        return tuple((spec, task.result()) for spec, task in self._tasks.items() if task.done())

    def pending(self) -> tuple[DeviceSpec, ...]:
        """Return the devices of which nothing is known yet."""
        return tuple(spec for spec, task in self._tasks.items() if not task.done())

    async def first(self, others_s: float) -> None:
        """Wait until one device is open and the others had this long to answer after it, or all have answered.

        Those that are started here always answer and are waited for.
        """
        left = set(self._tasks.values())
        while left and not any(isinstance(device, OpenDevice) for _, device in self.answered()):
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        started = {
            task for spec, task in self._tasks.items() if spec.transport in _STARTED_HERE and task in left
        }
        if started:
            await asyncio.wait(started)
        if left:
            await asyncio.wait(left, timeout=others_s)

    async def all(self) -> Fleet:
        """Wait until every device has answered or was given up."""
        await asyncio.gather(*self._tasks.values())
        return self.answered()

    async def each(self, work: Callable[[DeviceSpec, Opened], Awaitable[T]]) -> tuple[T, ...]:
        """Do a piece of work on every device as soon as it is open, in the manner of ``open_each``."""
        return await _each(tuple(self._tasks), lambda spec: self._work(spec, work))

    async def _work(self, spec: DeviceSpec, work: Callable[[DeviceSpec, Opened], Awaitable[T]]) -> T:
        # Not in its turn: whoever is slow to open would keep another one from working.
        device = await self._tasks[spec]
        async with self._turns.of(spec):
            return await work(spec, device)

    async def stop(self) -> None:
        """Give up those that have not answered."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@asynccontextmanager
async def opening(app: App, devices: Sequence[DeviceSpec], seed: int) -> AsyncIterator[Opening]:
    """Begin to open every device; close those that are open at the end.

    Raises:
        EdgeloopError: an option or a name is wrong; nothing was begun.
    """
    _get_ready(app, devices)
    for spec in devices:
        app.connect(spec, seed)
    async with AsyncExitStack() as stack:
        begun = Opening(devices, lambda spec: open_device(app, spec, seed, stack))
        try:
            yield begun
        finally:
            await begun.stop()


async def _all_or_none(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them; the first error ends the others, and is raised once they have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def on_each(fleet: Fleet, work: Callable[[DeviceSpec, Opened], Awaitable[T]]) -> tuple[T, ...]:
    """Do a piece of work on every device at once and return what came of it, in the order of the fleet.

    This machine comes last and alone: simulated boards check parity on this machine's processors, and their work
    must not stand in the latency of the real device.
    """
    results: dict[str, T] = {}
    turns = _Turns()

    async def one(spec: DeviceSpec, device: Opened) -> None:
        async with turns.of(spec):
            results[spec.name] = await work(spec, device)

    elsewhere = [entry for entry in fleet if entry[0].transport != "local"]
    here = [entry for entry in fleet if entry[0].transport == "local"]
    await asyncio.gather(*(one(*entry) for entry in elsewhere))
    for entry in here:
        await one(*entry)
    return tuple(results[spec.name] for spec, _ in fleet)
