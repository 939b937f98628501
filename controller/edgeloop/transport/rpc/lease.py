"""Holding a lease: asked for once, kept alive by heartbeats, given back at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from edgeloop_foundation.errors import (
    BusyError,
    DeadlineError,
    EdgeloopError,
    InvalidInputError,
    LeaseError,
    UnavailableError,
)
from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.types.lease import (
    OPEN,
    Availability,
    AvailabilityState,
    Lease,
    LeaseRequest,
    LeaseState,
)
from edgeloop_protocol.v1 import lease_pb2

from edgeloop.transport.rpc.call import Caller, decoded

__all__ = ["LeaseHandle", "LeaseLoss", "availability_in", "hold_lease"]

_log = logging.getLogger("edgeloop.transport")

_RELEASE_S = 10.0
# Longer than the 30 s in which keepalive finds a connection that died silently: asked again, a grant is told again.
_ANSWER_S = 45.0
# How soon a heartbeat that failed is tried again.
_AGAIN_S = 1.0


class LeaseLoss(asyncio.Event):
    """An event that knows why it happened."""

    #: One sentence; empty before it happened.
    reason = ""

    def tell(self, reason: str) -> None:
        """Let it happen."""
        self.reason = reason
        self.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHandle:
    """A lease that is being kept alive."""

    #: Identifier given by the agent.
    lease_id: str
    #: Rises with every grant; an operation with an older one is refused.
    fencing_token: int
    #: Set when the lease is gone although we did not give it back; whoever works under it has to stop.
    lost: LeaseLoss = field(default_factory=LeaseLoss)


@contextlib.asynccontextmanager
async def hold_lease(
    caller: Caller, stub: Any, request: LeaseRequest, on_wait: Callable[[Lease], None] | None
) -> AsyncIterator[LeaseHandle]:
    """Acquire a lease, renew it every quarter of its lifetime, release it on the way out.

    Raises:
        BusyError: somebody else holds the device and we did not or no longer want to wait.
        EdgeloopError: the device cannot be reached, or refuses.
    """
    lease = await _acquire(caller, stub, request, on_wait)
    handle = LeaseHandle(lease_id=lease.lease_id, fencing_token=lease.fencing_token)
    heartbeat = asyncio.create_task(_beat(caller, stub, handle, request.ttl_s))
    try:
        yield handle
    finally:
        heartbeat.cancel()
        # A second cancellation must not leave the device locked until the lease runs out.
        await asyncio.shield(_release(caller, stub, handle))


def new_request(
    holder: str, ttl_s: float, wait_timeout_s: float, priority: int = 0, *, shared: bool = False
) -> LeaseRequest:
    """Return a request under an identifier of its own.

    Raises:
        InvalidInputError: times that no agent grants.
    """
    if not 0 < ttl_s <= 600 or wait_timeout_s < 0:
        raise InvalidInputError(
            f"a lease lives at most 600 s and its wait is not negative: {ttl_s:g}, {wait_timeout_s:g}."
        )
    return LeaseRequest(
        request_id=str(uuid.uuid4()),
        holder=holder,
        ttl_s=ttl_s,
        wait_timeout_s=wait_timeout_s,
        priority=priority,
        shared=shared,
    )


async def _acquire(
    caller: Caller, stub: Any, request: LeaseRequest, on_wait: Callable[[Lease], None] | None
) -> Lease:
    give_up = time.monotonic() + request.wait_timeout_s
    failure_count, broken = 0, False
    while True:
        try:
            return await _wait_in_queue(caller, stub, request, on_wait)
        except UnavailableError:  # noqa: PERF203 - trying again is the point
            failure_count, broken = failure_count + 1, True
            if failure_count >= caller.policy.attempt_count or caller.hopeless():
                raise
            await caller.pause(failure_count)
        except LeaseError:
            # The break cost us our place: the agent took it for giving up. A grant it would tell again.
            if not broken:
                raise
            # Who did not want to wait asks again without waiting: the device may be free.
            broken, left_s = False, max(0.0, give_up - time.monotonic())
            request = replace(request, request_id=str(uuid.uuid4()), wait_timeout_s=left_s)


async def _wait_in_queue(
    caller: Caller, stub: Any, request: LeaseRequest, on_wait: Callable[[Lease], None] | None
) -> Lease:
    message = lease_pb2.AcquireRequest()
    to_wire(request, message.request)
    deadline_s = request.wait_timeout_s + _ANSWER_S
    answers = caller.stream(stub.Acquire, message, what="asking for a lease", deadline_s=deadline_s)
    async with contextlib.aclosing(answers):
        async for answer in answers:
            lease = decoded(answer.lease, Lease, caller.device)
            if lease.state is LeaseState.GRANTED:
                return lease
            if lease.state is not LeaseState.QUEUED:
                raise _refusal(caller.device, lease, await _availability(caller, stub))
            if on_wait is not None:
                on_wait(lease)
    raise UnavailableError(f"{caller.device} ended the queue without granting or refusing the lease.")


async def _availability(caller: Caller, stub: Any) -> Availability:
    """Ask whether the device is drained; who cannot be asked is not, for the refusal counts and not this."""
    try:
        answer = await caller.once(
            stub.ListLeases, lease_pb2.ListLeasesRequest(), what="listing leases", deadline_s=_ANSWER_S
        )
    except EdgeloopError:
        return OPEN
    return availability_in(answer, caller.device)


def availability_in(answer: lease_pb2.ListLeasesResponse, device: str) -> Availability:
    """Return whether a device gives out leases; an agent that cannot be drained always does."""
    if not answer.HasField("availability"):
        return OPEN
    return decoded(answer.availability, Availability, device)


def _refusal(device: str, lease: Lease, found: Availability) -> EdgeloopError:
    if found.state is not AvailabilityState.OPEN and lease.state is LeaseState.REFUSED:
        return BusyError(
            f"{device} is drained by {found.drained_by}: {found.reason.rstrip('.')}.",
            next_step=f"No waiting helps; put it back into use: edgeloop device undrain {device}",
        )
    if lease.state is not LeaseState.REFUSED:
        return LeaseError(f"{device}: the lease ended before it began: {lease.reason or lease.state.value}.")
    held = f"it is held by {lease.current_holder}" if lease.current_holder else "it is not free"
    if lease.current_holder and lease.current_expires_in_s > 0:
        held += f" for another {lease.current_expires_in_s:.0f} s at most unless renewed"
    return BusyError(
        f"{device} was not granted: {lease.reason.rstrip('.') or held}.",
        next_step="Wait for it with a longer wait time, or choose another device.",
    )


async def _beat(caller: Caller, stub: Any, handle: LeaseHandle, ttl_s: float) -> None:
    """Renew until cancelled; a lease is lost when the agent says so or is silent for its whole lifetime."""
    message = lease_pb2.RenewRequest(lease_id=handle.lease_id, fencing_token=handle.fencing_token)
    renewed, pause_s = time.monotonic(), ttl_s / 4
    while True:
        await asyncio.sleep(pause_s)
        pause_s, asked = ttl_s / 4, time.monotonic()
        try:
            answer = await caller.once(
                stub.Renew, message, what="renewing the lease", deadline_s=max(ttl_s / 4, 0.5)
            )
        except (UnavailableError, DeadlineError, BusyError) as error:
            if time.monotonic() - renewed < ttl_s:
                # A link that comes back late in the lifetime leaves no time for another quarter of it.
                pause_s = min(_AGAIN_S, pause_s)
                continue
            reason = str(error)
        except EdgeloopError as error:
            reason = str(error)
        else:
            if answer.lease.state == lease_pb2.LEASE_STATE_GRANTED:
                renewed = asked
                continue
            reason = answer.lease.reason
        _log.warning("%s: the lease is lost: %s", caller.device, reason)
        handle.lost.tell(reason)
        return


async def _release(caller: Caller, stub: Any, handle: LeaseHandle) -> None:
    message = lease_pb2.ReleaseRequest(lease_id=handle.lease_id, fencing_token=handle.fencing_token)
    try:
        await caller.once(stub.Release, message, what="giving the lease back", deadline_s=_RELEASE_S)
    except EdgeloopError as error:
        if not handle.lost.is_set():
            _log.warning(
                "%s: the lease could not be given back and runs out by itself: %s", caller.device, error
            )
