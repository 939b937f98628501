"""Watches a whole fleet: every device by itself, again and again, and those that somebody looks at more often.

Each device has a task of its own that waits for its turn. Devices that did not answer last take turns among themselves,
so that however many of them hang, those that answer are not kept waiting.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import DeadlineError, EdgeloopError, InternalError, UnsupportedError
from edgeloop_foundation.within import within
from edgeloop_protocol.types.deployment import DeploymentStatus
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.lease import Availability, Lease, holder_text
from edgeloop_protocol.types.serving import ServingStatus
from edgeloop_protocol.types.vitals import DeviceVitals

from edgeloop.domain.inventory import InventoryEntry
from edgeloop.orchestrate.fleet import allow_descriptors, open_device
from edgeloop.orchestrate.inventory import AvailabilityNotes
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.orchestrate.watch import drop

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["DeviceLook", "FleetWatch", "LookState", "Moment"]

_log = logging.getLogger(__name__)

_AT_ONCE = {"answers": 64, "away": 32, "unknown": 256}
"""By what is known of a device: however many are met for the first time and hang, there is room for others."""
_OPEN_S, _LOOK_S = 20.0, 10.0
_WANTED_FOR_S = 5.0
_INSTALLED_EVERY_S = 60.0
_LEASES_EVERY_S = 30.0
_HISTORY_COUNT = 180
_NEVER_ASKED = ("local", "simulated")
"""Transports whose agent is started by the command that uses it: to ask would be to start it."""


class LookState(enum.Enum):
    """What is known of a device."""

    #: It was not asked yet.
    UNKNOWN = "unknown"
    #: It answered last.
    ANSWERS = "answers"
    #: It did not answer last.
    AWAY = "away"
    #: It lives as long as the command that uses it, and is never asked.
    ON_USE = "on_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLook:
    """What was seen of one device last; of one that is away, what was seen before."""

    #: The device, as the inventory has it.
    entry: InventoryEntry
    #: What is known of it.
    state: LookState = LookState.UNKNOWN
    #: When it came into this state, seconds since 1970; 0 before the first look.
    since_s: float = 0.0
    #: When it was asked last, seconds since 1970; 0 before the first look.
    asked_s: float = 0.0
    #: Why it does not answer; empty while it does.
    reason: str = ""
    #: What it said about itself when the connection was made.
    facts: Facts | None = None
    #: How it was.
    vitals: DeviceVitals | None = None
    #: Who has it and who waits for it, in the order of the queue.
    leases: tuple[Lease, ...] = ()
    #: Whether it gives out leases.
    availability: Availability | None = None
    #: What is installed on it; absent as long as it did not tell.
    deployments: tuple[DeploymentStatus, ...] | None = None
    #: What it serves.
    serving: tuple[ServingStatus, ...] = ()
    #: Rises with every look at any device.
    sequence: int = 0

    @property
    def name(self) -> str:
        """The device's name."""
        return self.entry.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One point of a device's last minutes; what it does not tell is absent."""

    #: When, seconds since 1970 by the controller's clock.
    at_s: float
    temperature_celsius: float | None = None
    frequency_hz: float | None = None
    load_average_1min: float | None = None
    available_memory_bytes: float | None = None
    power_w: float | None = None


@dataclass(slots=True, eq=False)
class _Watched:
    """One device's task and what it needs."""

    look: DeviceLook
    notes: AvailabilityNotes
    #: Set to have it looked at before its time.
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    wanted_until_s: float = 0.0
    leases_at_s: float = float("-inf")
    installed_at_s: float = float("-inf")
    history: deque[Moment] = field(default_factory=lambda: deque(maxlen=_HISTORY_COUNT))
    task: asyncio.Task[None] | None = None
    opened: OpenDevice | None = None


class FleetWatch:
    """What is seen of every device now.

    Args:
        app: connects to devices.
        interval_s: time between two looks at a device that nobody looks at.
        wanted_interval_s: the same for one that somebody looks at.
    """

    def __init__(self, app: App, *, interval_s: float = 10.0, wanted_interval_s: float = 1.0) -> None:
        self._app, self._interval_s, self._wanted_interval_s = app, interval_s, wanted_interval_s
        self._devices: dict[str, _Watched] = {}
        self._sequence = 0
        self._changes: set[tuple[frozenset[str], asyncio.Event]] = set()
        self._turns = {state: asyncio.Semaphore(count) for state, count in _AT_ONCE.items()}

    @property
    def sequence(self) -> int:
        """Number of the last look."""
        return self._sequence

    def looks(self) -> tuple[DeviceLook, ...]:
        """Return what was seen last of every device, in the order of the inventory."""
        return tuple(device.look for device in self._devices.values())

    def look(self, name: str) -> DeviceLook | None:
        """Return what was seen last of one device; None when there is none of that name."""
        device = self._devices.get(name)
        return device.look if device else None

    def history(self, name: str) -> tuple[Moment, ...]:
        """Return the last looks at a device that it answered, the oldest first."""
        device = self._devices.get(name)
        return tuple(device.history) if device else ()

    def opened(self, name: str) -> OpenDevice | None:
        """Return the connection to a device, to be used besides; None when there is none now."""
        device = self._devices.get(name)
        return device.opened if device else None

    def want(self, names: Iterable[str]) -> None:
        """Look at these devices more often for the next seconds: somebody sees them."""
        now = time.monotonic()
        for name in names:
            device = self._devices.get(name)
            if device is None:
                continue
            if device.wanted_until_s < now:
                device.wake.set()
            device.wanted_until_s = now + _WANTED_FOR_S

    async def changed(self, names: Collection[str], after: int, timeout_s: float) -> bool:
        """Wait until one of these devices was looked at after look number ``after``; return whether one was."""
        if any(d.look.sequence > after for name in names if (d := self._devices.get(name))):
            return True
        waiter = (frozenset(names), asyncio.Event())
        self._changes.add(waiter)
        try:
            await within(waiter[1].wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        finally:
            self._changes.discard(waiter)
        return True

    async def follow(self, entries: Sequence[InventoryEntry]) -> None:
        """Watch exactly these devices from now on; one that is reached in another way is met anew.

        Raises:
            BusyError: the system does not allow so many connections.
        """
        allow_descriptors(len(entries))
        kept: dict[str, _Watched] = {}
        for entry in entries:
            known = self._devices.get(entry.name)
            if known is not None and known.look.entry.spec == entry.spec:
                known.look = replace(known.look, entry=entry)
                kept[entry.name] = known
            else:
                kept[entry.name] = self._meet(entry)
        stays = set(kept.values())
        gone = [device for device in self._devices.values() if device not in stays]
        self._devices = kept
        await _end(gone)

    async def stop(self) -> None:
        """Close every connection; nobody is watched afterwards, and who waits for a change goes on."""
        devices, self._devices = list(self._devices.values()), {}
        for _, event in self._changes:
            event.set()
        await _end(devices)

    def _meet(self, entry: InventoryEntry) -> _Watched:
        notes = AvailabilityNotes(self._app.state_directory, entry.spec)
        if entry.spec.transport in _NEVER_ASKED:
            return _Watched(look=DeviceLook(entry=entry, state=LookState.ON_USE), notes=notes)
        device = _Watched(look=DeviceLook(entry=entry), notes=notes)
        device.task = asyncio.create_task(self._watch(device))
        return device

    async def _watch(self, device: _Watched) -> None:
        async with AsyncExitStack() as stack:
            while True:
                async with self._turns[device.look.state.value]:
                    device.opened = await self._turn(device, device.opened, stack)
                await self._rest(device)

    async def _rest(self, device: _Watched) -> None:
        device.wake.clear()
        wanted = device.wanted_until_s >= time.monotonic()
        try:
            await within(device.wake.wait(), self._wanted_interval_s if wanted else self._interval_s)
        except asyncio.TimeoutError:
            return

    async def _turn(
        self, device: _Watched, opened: OpenDevice | None, stack: AsyncExitStack
    ) -> OpenDevice | None:
        """Look once; return the connection to go on with, None when there is none."""
        asked_s = time.time()
        try:
            if opened is None:
                opened = await self._open(device, stack)
            look = await within(self._look(device, opened), _LOOK_S)
        except asyncio.TimeoutError:
            error: EdgeloopError = DeadlineError(f"it did not answer within {_LOOK_S:g} s.")
        except EdgeloopError as found:
            error = found
        except Exception as found:
            # One device's watch must not end by what nobody thought of: it is said, and tried again.
            _log.exception("looking at %s failed", device.look.name)
            error = InternalError(f"{type(found).__name__}: {found}")
        else:
            self._keep(device, replace(look, asked_s=asked_s))
            return opened
        await drop(stack)
        self._keep(device, replace(device.look, state=LookState.AWAY, asked_s=asked_s, reason=error.message))
        return None

    async def _open(self, device: _Watched, stack: AsyncExitStack) -> OpenDevice:
        spec = device.look.entry.spec
        opened = await within(open_device(self._app, spec, 0, stack), _OPEN_S)
        if isinstance(opened, EdgeloopError):
            raise opened
        device.leases_at_s = device.installed_at_s = float("-inf")
        return opened

    async def _look(self, device: _Watched, opened: OpenDevice) -> DeviceLook:
        client, now = opened.client, time.monotonic()
        vitals = await client.vitals()
        look = replace(device.look, state=LookState.ANSWERS, reason="", facts=opened.facts, vitals=vitals)
        # Nobody sees its queue, and who has it stands in the vitals: half of the calls to a large fleet are spared.
        unseen = device.wanted_until_s < now and now - device.leases_at_s < _LEASES_EVERY_S
        if not unseen or vitals.lease_holder != holder_text(look.leases):
            leases, availability = await client.leases()
            await asyncio.to_thread(device.notes.hear, availability)
            look = replace(look, leases=leases, availability=availability)
            device.leases_at_s = now
        if time.monotonic() - device.installed_at_s < _INSTALLED_EVERY_S:
            return look
        device.installed_at_s = time.monotonic()
        try:
            deployments, serving = await client.deployments.listing(), await client.serving.listing()
        except UnsupportedError:
            return look  # an older agent, which serves nothing that could be listed
        return replace(look, deployments=deployments, serving=serving)

    def _keep(self, device: _Watched, look: DeviceLook) -> None:
        self._sequence += 1
        since_s = device.look.since_s if look.state is device.look.state else look.asked_s
        device.look = replace(look, since_s=since_s, sequence=self._sequence)
        if look.state is LookState.ANSWERS and look.vitals is not None:
            device.history.append(_moment(look.asked_s, look.vitals))
        for names, event in self._changes:
            if look.name in names:
                event.set()


def _moment(at_s: float, vitals: DeviceVitals) -> Moment:
    watts = [r for r in vitals.readings if r.unit in ("watt", "W") and r.value is not None]
    total = next((r for r in watts if r.name.endswith("/total")), watts[0] if len(watts) == 1 else None)
    return Moment(
        at_s=at_s,
        temperature_celsius=vitals.temperature_celsius,
        frequency_hz=vitals.frequency_hz,
        load_average_1min=vitals.load_average_1min,
        available_memory_bytes=vitals.available_memory_bytes,
        power_w=total.value if total else None,
    )


async def _end(devices: Sequence[_Watched]) -> None:
    tasks = {device.task for device in devices if device.task is not None}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
