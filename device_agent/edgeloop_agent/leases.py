"""Who holds the device, who waits, and until when.

A lease is granted for a time to live and extended by heartbeats, measured on the monotonic clock. Every grant
raises a fencing token that is on the disk before anybody learns of it and never goes back. Waiters queue
first come, first served, and give up their place by going away. After a restart of the agent the lease that
was granted holds for what was left of it; when that cannot be told (another boot, a spoiled heartbeat) for
one whole time to live, never longer.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import AlreadyExistsError, BusyError, InvalidInputError, LeaseError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.lease import Lease, LeaseRequest, LeaseState

from edgeloop_agent.lease_journal import LeaseJournal

__all__ = ["TRANSITIONS", "LeaseEvent", "Leases", "next_state"]

_TTL_S_MAX = 600.0
_WAIT_S_MAX = 24 * 3600.0
_QUEUE_MAX = 64
_ENDED_KEPT = 200
_NAME_LENGTH_MAX = 200
_RETRY_S = 1.0

_log = logging.getLogger(__name__)


class LeaseEvent(enum.Enum):
    """What happens to a lease."""

    GRANT = "grant"
    RENEW = "renew"
    RELEASE = "release"
    EXPIRE = "expire"
    REFUSE = "refuse"
    GIVE_UP = "give_up"


TRANSITIONS: dict[tuple[LeaseState, LeaseEvent], LeaseState] = {
    (LeaseState.QUEUED, LeaseEvent.GRANT): LeaseState.GRANTED,
    (LeaseState.QUEUED, LeaseEvent.REFUSE): LeaseState.REFUSED,
    (LeaseState.QUEUED, LeaseEvent.GIVE_UP): LeaseState.RELEASED,
    (LeaseState.GRANTED, LeaseEvent.RENEW): LeaseState.GRANTED,
    (LeaseState.GRANTED, LeaseEvent.RELEASE): LeaseState.RELEASED,
    (LeaseState.GRANTED, LeaseEvent.EXPIRE): LeaseState.EXPIRED,
    # Releasing twice is what a client does that lost the answer.
    (LeaseState.RELEASED, LeaseEvent.RELEASE): LeaseState.RELEASED,
    (LeaseState.EXPIRED, LeaseEvent.RELEASE): LeaseState.EXPIRED,
}
"""The whole table; what is not in it is refused."""


def next_state(state: LeaseState, event: LeaseEvent) -> LeaseState:
    """Return the state after an event.

    Raises:
        LeaseError: the table does not allow it.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LeaseError(
            f"a lease that is {state.value} cannot {event.value.replace('_', ' ')}.",
            next_step="Acquire a new lease.",
        ) from None


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


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


class Leases:
    """The leases of one device; every method runs on the one loop, disk writes go to a thread."""

    def __init__(self, *, fs: FileSystem, clock: Clock, root: Path, boot_id: str) -> None:
        self._clock = clock
        self._journal = LeaseJournal(fs=fs, clock=clock, root=root, boot_id=boot_id)
        self._token = 0
        self._current: _Entry | None = None
        self._queue: list[_Entry] = []
        self._ended: OrderedDict[str, _Entry] = OrderedDict()
        self._settling = False
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._on_end: Callable[[str, str], Awaitable[None]] | None = None

    def open(self, token_floor: int = 0) -> None:
        """Read token and lease from the disk; blocks.

        Args:
            token_floor: highest token known from elsewhere; the next grant lies above it.
        """
        self._token, stored = self._journal.load(token_floor)
        if stored is not None:
            self._current = _Entry(
                lease_id=stored.lease_id, request=stored.request, state=LeaseState.GRANTED, token=stored.token
            )
            self._current.until_ns = stored.until_ns

    def on_end(self, callback: Callable[[str, str], Awaitable[None]]) -> None:
        """Call ``callback(lease_id, reason)`` when a granted lease ends, before the next is granted."""
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
                if entry.state is not LeaseState.QUEUED:
                    return
                await entry.changed.wait()
        finally:
            entry.watcher_count -= 1
            if entry.watcher_count == 0 and entry.state is LeaseState.QUEUED:
                self._drop_waiter(entry, LeaseEvent.GIVE_UP, "the client went away")

    def _entry_for(self, request: LeaseRequest) -> _Entry:
        alive = [*([self._current] if self._current else []), *self._queue]
        known = next((e for e in alive if e.request.request_id == request.request_id), None)
        known = known or self._ended.get(request.request_id)
        if known is not None:
            if known.request != request:
                raise AlreadyExistsError(
                    f"lease request {request.request_id} was made with other terms.",
                    next_step="Use a new request id.",
                )
            return known
        if len(self._queue) >= _QUEUE_MAX:
            raise BusyError(f"{_QUEUE_MAX} clients wait for the device.", next_step="Try again later.")
        entry = _Entry(lease_id=str(uuid.uuid4()), request=request)
        entry.until_ns = self._clock.monotonic_ns() + _ns(request.wait_timeout_s)
        self._queue.append(entry)
        # Its wait may end before anything that run() sleeps for.
        self._wake.set()
        return entry

    async def renew(self, lease_id: str, fencing_token: int) -> Lease:
        """Extend a lease to its full time to live.

        Raises:
            LeaseError: it is not the current lease, or it is over.
        """
        async with self._lock:
            entry = self._require(lease_id, fencing_token)
            until_ns = self._clock.monotonic_ns() + _ns(entry.request.ttl_s)
            await asyncio.to_thread(self._journal.heartbeat, lease_id, until_ns)
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

    def listing(self) -> tuple[Lease, ...]:
        """Return the granted lease, then the queue in order."""
        granted = [self._current] if self._current else []
        return tuple(self._describe(entry) for entry in [*granted, *self._queue])

    def check(self, lease_id: str, fencing_token: int) -> None:
        """Check that work may be done under this lease now.

        Raises:
            LeaseError: it is not the current lease, its token is stale, or it is over.
        """
        self._require(lease_id, fencing_token)

    async def run(self) -> None:
        """Expire leases and waiters for ever; cancel to stop."""
        while True:
            self._wake.clear()
            try:
                await self._advance()
            except OSError as error:
                _log.error("the disk refuses a lease: %s", error)
                await self._clock.sleep(_RETRY_S)
            deadlines = [entry.until_ns for entry in self._queue]
            if self._current is not None:
                deadlines.append(self._current.until_ns)
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
        expired = None
        async with self._lock:
            now = self._clock.monotonic_ns()
            if self._current is not None and self._current.until_ns <= now:
                expired = self._current
                await self._end(expired, LeaseEvent.EXPIRE, "no heartbeat came within its time to live")
        if expired is not None:
            await self._settle(expired)
        async with self._lock:
            if self._current is None and not self._settling and self._queue:
                await self._grant(self._queue[0])
            now = self._clock.monotonic_ns()
            for entry in [waiter for waiter in self._queue if waiter.until_ns <= now]:
                self._drop_waiter(entry, LeaseEvent.REFUSE, self._busy_reason())

    def _busy_reason(self) -> str:
        if self._current is None:
            return "the device is still stopping the work of the lease before"
        left_s = max(0.0, (self._current.until_ns - self._clock.monotonic_ns()) / 1e9)
        return f"the device is held by {self._current.request.holder} for {left_s:.0f} s unless extended"

    async def _grant(self, entry: _Entry) -> None:
        token = self._token + 1
        # A token that may be on the disk is never given out again, whether or not the write came back.
        self._token = token
        until_ns = self._clock.monotonic_ns() + _ns(entry.request.ttl_s)
        await asyncio.to_thread(self._journal.store, entry.lease_id, entry.request, token)
        await asyncio.to_thread(self._journal.heartbeat, entry.lease_id, until_ns)
        if entry.state is not LeaseState.QUEUED:
            # It gave up while the disk was busy.
            await asyncio.to_thread(self._journal.clear, token)
            return
        entry.move(LeaseEvent.GRANT)
        entry.token = token
        entry.until_ns = self._clock.monotonic_ns() + _ns(entry.request.ttl_s)
        self._queue.remove(entry)
        self._current = entry
        self._tell_all()

    async def _end(self, entry: _Entry, event: LeaseEvent, reason: str) -> None:
        try:
            await asyncio.to_thread(self._journal.clear, self._token)
        except OSError as error:
            # The device is freed all the same; at worst a restart holds it once more, for one time to live.
            _log.error("the end of the lease of %s is not on the disk: %s", entry.request.holder, error)
        entry.move(event, reason)
        _log.info("lease of %s: %s", entry.request.holder, reason)
        self._remember(entry)
        self._current = None
        self._settling = True

    async def _settle(self, entry: _Entry) -> None:
        """Wait until the device is free of the ended lease's work, then let the next one in."""
        # Shielded: a client that releases and goes away must not let the next one in too early.
        await asyncio.shield(self._free_device(entry))

    async def _free_device(self, entry: _Entry) -> None:
        try:
            if self._on_end is not None:
                await self._on_end(entry.lease_id, entry.reason)
        finally:
            self._settling = False
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
        for entry in [*self._queue, *([self._current] if self._current else [])]:
            entry.changed.set()
        self._wake.set()

    def _require(self, lease_id: str, fencing_token: int) -> _Entry:
        entry = self._current
        if entry is None or entry.lease_id != lease_id:
            held = "nobody" if entry is None else entry.request.holder
            raise LeaseError(
                f"lease {lease_id[:80]!r} is not in force; the device is held by {held}.",
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
        holder, left_s = "", 0.0
        if queued and self._current is not None:
            holder = self._current.request.holder
            left_s = max(0.0, (self._current.until_ns - now) / 1e9)
        return Lease(
            lease_id=entry.lease_id,
            state=entry.state,
            holder=entry.request.holder,
            fencing_token=entry.token,
            expires_in_s=max(0.0, (entry.until_ns - now) / 1e9) if granted else 0.0,
            queue_position=self._queue.index(entry) + 1 if queued else 0,
            current_holder=holder,
            current_expires_in_s=left_s,
            reason=entry.reason,
        )
