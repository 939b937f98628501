"""Who holds the device, who waits, and until when.

A lease is granted for a time to live and extended by heartbeats, measured on the monotonic clock. Every grant
raises a fencing token that is on the disk before anybody learns of it and never goes back. An exclusive lease is
granted alone, for a measurement that nothing may disturb; shared ones are granted beside each other. Waiters of both
kinds stand in one queue by priority, first come, first served within one, and give up their place by going away: an
exclusive one at its head lets no shared one past, and the other way round, so that neither kind starves. A device
that is drained lets its holders finish and refuses everybody else, also after a restart. After a restart of the agent
the leases that were granted hold for what was left of them; when that cannot be told (another boot, a spoiled
heartbeat) for one whole time to live, never longer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import AlreadyExistsError, BusyError, InvalidInputError, LeaseError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.lease import (
    OPEN,
    PRIORITY_MAX,
    Availability,
    AvailabilityState,
    Lease,
    LeaseRequest,
    LeaseState,
    holder_text,
)

from edgeloop_agent.lease_journal import LeaseJournal
from edgeloop_agent.lease_table import AvailabilityEvent, LeaseEvent, next_availability, next_state

__all__ = ["HOLDERS_MAX", "WAITERS_MAX", "Leases"]

HOLDERS_MAX = 64
"""Shared leases that are granted at once."""

WAITERS_MAX = 64
"""Clients that may queue for the device at once."""

_TTL_S_MAX = 600.0
_WAIT_S_MAX = 24 * 3600.0
_ENDED_KEPT = 200
_NAME_LENGTH_MAX = 200
_RETRY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One lease; mutable, owned by the one loop."""

    lease_id: str
    request: LeaseRequest
    state: LeaseState = LeaseState.QUEUED
    token: int = 0
    #: Monotonic time of expiry when granted, of the end of waiting when queued.
    until_ns: int = 0
    #: Open streams that wait for it.
    watcher_count: int = 0
    reason: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self, event: LeaseEvent, reason: str = "") -> None:
        self.state = next_state(self.state, event)
        self.reason = reason or self.reason


def _check(request: LeaseRequest) -> None:
    if not 0 < len(request.request_id) <= _NAME_LENGTH_MAX or not 0 < len(request.holder) <= _NAME_LENGTH_MAX:
        raise InvalidInputError(
            f"request_id and holder of a lease have 1 to {_NAME_LENGTH_MAX} characters, "
            f"not {len(request.request_id)} and {len(request.holder)}."
        )
    if not (math.isfinite(request.ttl_s) and 0 < request.ttl_s <= _TTL_S_MAX):
        raise InvalidInputError(f"ttl_s is above 0 and at most {_TTL_S_MAX:.0f}, not {request.ttl_s}.")
    if not (math.isfinite(request.wait_timeout_s) and 0 <= request.wait_timeout_s <= _WAIT_S_MAX):
        raise InvalidInputError(
            f"wait_timeout_s is between 0 and {_WAIT_S_MAX:.0f}, not {request.wait_timeout_s}."
        )
    if abs(request.priority) > PRIORITY_MAX:
        raise InvalidInputError(
            f"a priority lies between -{PRIORITY_MAX} and {PRIORITY_MAX}, not {request.priority}."
        )


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


class Leases:
    """The leases of one device; every method runs on the one loop, disk writes go to a thread."""

    def __init__(self, *, fs: FileSystem, clock: Clock, root: Path, boot_id: str) -> None:
        self._clock = clock
        self._journal = LeaseJournal(fs=fs, clock=clock, root=root, boot_id=boot_id)
        self._token = 0
        self._held: list[_Entry] = []
        self._queue: list[_Entry] = []
        self._ended: OrderedDict[str, _Entry] = OrderedDict()
        self._availability = OPEN
        # Leases that are over and whose work is still being stopped.
        self._settling: list[_Entry] = []
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._on_end: Callable[[str, str], Awaitable[None]] | None = None

    def open(self, token_floor: int = 0) -> None:
        """Read token and leases from the disk; blocks.

        Args:
            token_floor: highest token known from elsewhere; the next grant lies above it.
        """
        self._token, stored = self._journal.load(token_floor)
        self._held = [
            _Entry(
                lease_id=one.lease_id,
                request=one.request,
                state=LeaseState.GRANTED,
                token=one.token,
                until_ns=one.until_ns,
            )
            for one in stored
        ]
        if self._held:
            # Or the next start within this boot would begin the time to live once more.
            try:
                self._journal.heartbeat(self._untils({}))
            except OSError as error:
                _log.warning("until when the leases hold is not kept: %s", error)
        if (order := self._journal.load_drain()) is not None:
            self._availability = Availability(
                state=AvailabilityState.DRAINING, reason=order[0], drained_by=order[1]
            )
            self._note_emptiness()

    def on_end(self, callback: Callable[[str, str], Awaitable[None]]) -> None:
        """Call ``callback(lease_id, reason)`` when a granted lease ends, before one is granted that it excludes."""
        self._on_end = callback

    async def acquire(self, request: LeaseRequest) -> AsyncGenerator[Lease, None]:
        """Yield the lease whenever its place changes; end when it is granted, refused or over.

        Raises:
            InvalidInputError: the request is out of bounds.
            AlreadyExistsError: the request id belongs to another request.
            BusyError: the queue is full.
        """
        _check(request)
        entry = self._entry_for(request)
        entry.watcher_count += 1
        try:
            await self._advance()
            said = None
            while True:
                entry.changed.clear()
                lease = self._describe(entry)
                if (key := (lease.state, lease.queue_position, lease.current_holder)) != said:
                    said = key
                    yield lease
                # Not entry.state: it may have been granted while the one who listens took in that it waits.
                if lease.state is not LeaseState.QUEUED:
                    return
                await entry.changed.wait()
        finally:
            entry.watcher_count -= 1
            if entry.watcher_count == 0 and entry.state is LeaseState.QUEUED:
                self._drop_waiter(entry, LeaseEvent.GIVE_UP, "the client went away")

    def _entry_for(self, request: LeaseRequest) -> _Entry:
        known = next(
            (e for e in [*self._held, *self._queue] if e.request.request_id == request.request_id), None
        )
        known = known or self._ended.get(request.request_id)
        if known is not None:
            if known.request != request:
                raise AlreadyExistsError(
                    f"lease request {request.request_id} was made with other terms.",
                    next_step="Use a new request id.",
                )
            return known
        if len(self._queue) >= WAITERS_MAX:
            raise BusyError(f"{WAITERS_MAX} clients wait for the device.", next_step="Try again later.")
        entry = _Entry(lease_id=str(uuid.uuid4()), request=request)
        entry.until_ns = self._clock.monotonic_ns() + _ns(request.wait_timeout_s)
        self._queue.append(entry)
        # The sort is stable: within a priority they stay in the order they came.
        self._queue.sort(key=lambda waiter: -waiter.request.priority)
        # Those behind it have another place now.
        self._tell_all()
        # Its wait may end before anything that run() sleeps for.
        self._wake.set()
        return entry

    async def renew(self, lease_id: str, fencing_token: int) -> Lease:
        """Extend a lease to its full time to live.

        Raises:
            LeaseError: it is not in force, or it is over.
        """
        async with self._lock:
            entry = self._require(lease_id, fencing_token)
            until_ns = self._clock.monotonic_ns() + _ns(entry.request.ttl_s)
            await asyncio.to_thread(self._journal.heartbeat, self._untils({lease_id: until_ns}))
            entry.move(LeaseEvent.RENEW)
            entry.until_ns = until_ns
            return self._describe(entry)

    async def release(self, lease_id: str, fencing_token: int) -> Lease:
        """Give the device back; a lease that is over already is told as it is.

        Raises:
            LeaseError: unknown lease or stale token.
        """
        ended = next((entry for entry in self._ended.values() if entry.lease_id == lease_id), None)
        if ended is not None and ended.token == fencing_token:
            ended.move(LeaseEvent.RELEASE)
            return self._describe(ended)
        async with self._lock:
            entry = self._require(lease_id, fencing_token)
            await self._end(entry, LeaseEvent.RELEASE, "released by its holder")
        await self._settle(entry)
        return self._describe(entry)

    @property
    def availability(self) -> Availability:
        """Whether leases are given out."""
        return self._availability

    async def drain(self, reason: str, drained_by: str) -> Availability:
        """Give out no new leases: who holds the device finishes, who waits is refused.

        Raises:
            InvalidInputError: no reason or nobody is named, or either is too long.
        """
        if not 0 < len(reason) <= _NAME_LENGTH_MAX or not 0 < len(drained_by) <= _NAME_LENGTH_MAX:
            raise InvalidInputError(
                f"reason and author of a drain have 1 to {_NAME_LENGTH_MAX} characters, "
                f"not {len(reason)} and {len(drained_by)}.",
                next_step="Say why in a few words.",
            )
        async with self._lock:
            state = next_availability(self._availability.state, AvailabilityEvent.DRAIN)
            await asyncio.to_thread(self._journal.store_drain, reason, drained_by)
            self._availability = Availability(state=state, reason=reason, drained_by=drained_by)
            self._note_emptiness()
            for entry in tuple(self._queue):
                self._drop_waiter(entry, LeaseEvent.REFUSE, self._drained_reason())
            _log.info("%s", self._drained_reason())
            return self._availability

    async def undrain(self) -> Availability:
        """Give out leases again; a device that is given out already stays so."""
        async with self._lock:
            next_availability(self._availability.state, AvailabilityEvent.UNDRAIN)
            await asyncio.to_thread(self._journal.clear_drain)
            self._availability = OPEN
            return self._availability

    def _note_emptiness(self) -> None:
        if self._availability.state is AvailabilityState.DRAINING and not self._held and not self._settling:
            state = next_availability(self._availability.state, AvailabilityEvent.EMPTIED)
            self._availability = replace(self._availability, state=state)

    def _drained_reason(self) -> str:
        now = self._availability
        return f"the device is drained by {now.drained_by}: {now.reason}"

    def listing(self) -> tuple[Lease, ...]:
        """Return the granted leases, then the queue in order."""
        return tuple(self._describe(entry) for entry in [*self._held, *self._queue])

    def check(self, lease_id: str, fencing_token: int, *, shared: bool = False) -> None:
        """Check that work may be done under this lease now.

        Args:
            lease_id: the lease.
            fencing_token: its token.
            shared: whether a shared one is enough.

        Raises:
            LeaseError: it is not in force, is a shared one where that is not enough, its token is stale, or it is over.
        """
        entry = self._require(lease_id, fencing_token)
        if entry.request.shared and not shared:
            raise LeaseError(
                f"the lease of {entry.request.holder} is shared, and this work needs the device alone.",
                next_step="Acquire an exclusive lease.",
            )

    async def run(self) -> None:
        """Expire leases and waiters for ever; cancel to stop."""
        while True:
            self._wake.clear()
            try:
                await self._advance()
            except OSError as error:
                _log.error("the disk refuses a lease: %s", error)
                await self._clock.sleep(_RETRY_S)
            deadlines = [entry.until_ns for entry in [*self._held, *self._queue]]
            await self._sleep_until(min(deadlines, default=None))

    async def _sleep_until(self, deadline_ns: int | None) -> None:
        woken = asyncio.ensure_future(self._wake.wait())
        tasks: set[asyncio.Future[Any]] = {woken}
        if deadline_ns is not None:
            seconds = max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9)
            tasks.add(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _advance(self) -> None:
        """Bring the table up to now: expire, grant, refuse."""
        async with self._lock:
            now = self._clock.monotonic_ns()
            expired = [entry for entry in self._held if entry.until_ns <= now]
            for entry in expired:
                await self._end(entry, LeaseEvent.EXPIRE, "no heartbeat came within its time to live")
        for entry in expired:
            await self._settle(entry)
        async with self._lock:
            if self._availability.state is not AvailabilityState.OPEN:
                for entry in tuple(self._queue):
                    self._drop_waiter(entry, LeaseEvent.REFUSE, self._drained_reason())
            while self._queue and self._may_have(self._queue[0]):
                await self._grant(self._queue[0])
            now = self._clock.monotonic_ns()
            for entry in [waiter for waiter in self._queue if waiter.until_ns <= now]:
                self._drop_waiter(entry, LeaseEvent.REFUSE, self._busy_reason())

    def _may_have(self, entry: _Entry) -> bool:
        """Return whether a waiter can be let in beside those who hold the device, or whose work still stops."""
        inside = [*self._held, *self._settling]
        if not entry.request.shared:
            return not inside
        return len(inside) < HOLDERS_MAX and all(one.request.shared for one in inside)

    def _busy_reason(self) -> str:
        if not self._held:
            return "the device is still stopping the work of the lease before"
        return f"the device is held by {self._holders()} for {self._left_s():.0f} s unless extended"

    def _holders(self) -> str:
        return holder_text(map(self._describe, self._held)) or "nobody"

    def _left_s(self) -> float:
        """Return after how many seconds of silence the device is free."""
        last_ns = max((entry.until_ns for entry in self._held), default=0)
        return max(0.0, (last_ns - self._clock.monotonic_ns()) / 1e9)

    def _untils(self, changed: Mapping[str, int]) -> dict[str, int]:
        return {**{entry.lease_id: entry.until_ns for entry in self._held}, **changed}

    def _store(self, held: Sequence[_Entry]) -> None:
        self._journal.store([(one.lease_id, one.request, one.token) for one in held], self._token)

    async def _grant(self, entry: _Entry) -> None:
        # A token that may be on the disk is never given out again, whether or not the write came back.
        self._token += 1
        entry.token = self._token
        until_ns = self._clock.monotonic_ns() + _ns(entry.request.ttl_s)
        await asyncio.to_thread(self._store, [*self._held, entry])
        await asyncio.to_thread(self._journal.heartbeat, self._untils({entry.lease_id: until_ns}))
        if entry.state is not LeaseState.QUEUED:
            # It gave up while the disk was busy.
            await asyncio.to_thread(self._store, self._held)
            return
        entry.move(LeaseEvent.GRANT)
        entry.until_ns = self._clock.monotonic_ns() + _ns(entry.request.ttl_s)
        self._queue.remove(entry)
        self._held.append(entry)
        self._tell_all()

    async def _end(self, entry: _Entry, event: LeaseEvent, reason: str) -> None:
        left = [one for one in self._held if one is not entry]
        try:
            await asyncio.to_thread(self._store, left)
        except OSError as error:
            # The device is freed all the same; at worst a restart holds it once more, for one time to live.
            _log.error("the end of the lease of %s is not on the disk: %s", entry.request.holder, error)
        entry.move(event, reason)
        _log.info("lease of %s: %s", entry.request.holder, reason)
        self._remember(entry)
        self._held = left
        self._settling.append(entry)

    async def _settle(self, entry: _Entry) -> None:
        """Wait until the device is free of the ended lease's work, then let the next one in."""
        # Shielded: a client that releases and goes away must not let the next one in too early.
        await asyncio.shield(self._free_device(entry))

    async def _free_device(self, entry: _Entry) -> None:
        try:
            if self._on_end is not None:
                await self._on_end(entry.lease_id, entry.reason)
        finally:
            self._settling.remove(entry)
            self._note_emptiness()
            self._tell_all()

    def _drop_waiter(self, entry: _Entry, event: LeaseEvent, reason: str) -> None:
        entry.move(event, reason)
        self._queue.remove(entry)
        self._remember(entry)
        self._tell_all()

    def _remember(self, entry: _Entry) -> None:
        self._ended[entry.request.request_id] = entry
        while len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        entry.changed.set()

    def _tell_all(self) -> None:
        for entry in [*self._queue, *self._held]:
            entry.changed.set()
        self._wake.set()

    def _require(self, lease_id: str, fencing_token: int) -> _Entry:
        entry = next((one for one in self._held if one.lease_id == lease_id), None)
        if entry is None:
            raise LeaseError(
                f"lease {lease_id[:80]!r} is not in force; the device is held by {self._holders()}.",
                next_step="Acquire a lease and use its fencing token.",
            )
        if entry.token != fencing_token:
            raise LeaseError(
                f"fencing token {fencing_token} is stale; the lease has {entry.token}.",
                next_step="Use the token that came with the grant.",
            )
        if entry.until_ns <= self._clock.monotonic_ns():
            self._wake.set()
            raise LeaseError(
                f"lease {lease_id} expired without a heartbeat.", next_step="Acquire a new lease."
            )
        return entry

    def _describe(self, entry: _Entry) -> Lease:
        now = self._clock.monotonic_ns()
        queued, granted = entry.state is LeaseState.QUEUED, entry.state is LeaseState.GRANTED
        waits = queued and bool(self._held)
        return Lease(
            lease_id=entry.lease_id,
            state=entry.state,
            holder=entry.request.holder,
            fencing_token=entry.token,
            expires_in_s=max(0.0, (entry.until_ns - now) / 1e9) if granted else 0.0,
            queue_position=self._queue.index(entry) + 1 if queued else 0,
            current_holder=self._holders() if waits else "",
            current_expires_in_s=self._left_s() if waits else 0.0,
            reason=entry.reason,
            priority=entry.request.priority,
            shared=entry.request.shared,
        )
