"""Leases on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.lease import Availability, CoolDown, LeaseRequest
from edgeloop_protocol.v1 import lease_pb2, lease_pb2_grpc

from edgeloop_agent.cool_down import Rests
from edgeloop_agent.gate import Context
from edgeloop_agent.leases import Leases

__all__ = ["LeaseService"]


class LeaseService(lease_pb2_grpc.LeaseServiceServicer):
    """Grants, extends and ends leases."""

    def __init__(self, leases: Leases, rests: Rests) -> None:
        self._leases = leases
        self._rests = rests

    def _said(self, found: Availability) -> lease_pb2.Availability:
        return to_wire(replace(found, cool_down=self._rests.rule), lease_pb2.Availability())

    async def Acquire(  # noqa: N802 - named by the wire
        self, request: lease_pb2.AcquireRequest, context: Context
    ) -> AsyncIterator[lease_pb2.AcquireResponse]:
        """Stream the place in the queue up to the grant; closing the stream gives it up."""
        async with aclosing(self._leases.acquire(from_wire(request.request, LeaseRequest))) as states:
            async for lease in states:
                yield lease_pb2.AcquireResponse(lease=to_wire(lease, lease_pb2.Lease()))

    async def Renew(  # noqa: N802 - named by the wire
        self, request: lease_pb2.RenewRequest, context: Context
    ) -> lease_pb2.RenewResponse:
        """Take a heartbeat."""
        lease = await self._leases.renew(request.lease_id, request.fencing_token)
        return lease_pb2.RenewResponse(lease=to_wire(lease, lease_pb2.Lease()))

    async def Release(  # noqa: N802 - named by the wire
        self, request: lease_pb2.ReleaseRequest, context: Context
    ) -> lease_pb2.ReleaseResponse:
        """Take the device back."""
        lease = await self._leases.release(request.lease_id, request.fencing_token)
        return lease_pb2.ReleaseResponse(lease=to_wire(lease, lease_pb2.Lease()))

    async def ListLeases(  # noqa: N802 - named by the wire
        self, request: lease_pb2.ListLeasesRequest, context: Context
    ) -> lease_pb2.ListLeasesResponse:
        """Return holder and queue."""
        leases = [to_wire(lease, lease_pb2.Lease()) for lease in self._leases.listing()]
        return lease_pb2.ListLeasesResponse(leases=leases, availability=self._said(self._leases.availability))

    async def Drain(  # noqa: N802 - named by the wire
        self, request: lease_pb2.DrainRequest, context: Context
    ) -> lease_pb2.DrainResponse:
        """Take the device out of use."""
        now = await self._leases.drain(request.reason, request.drained_by)
        return lease_pb2.DrainResponse(availability=self._said(now))

    async def Undrain(  # noqa: N802 - named by the wire
        self, request: lease_pb2.UndrainRequest, context: Context
    ) -> lease_pb2.UndrainResponse:
        """Put the device back into use."""
        now = await self._leases.undrain()
        return lease_pb2.UndrainResponse(availability=self._said(now))

    async def SetCoolDown(  # noqa: N802 - named by the wire
        self, request: lease_pb2.SetCoolDownRequest, context: Context
    ) -> lease_pb2.SetCoolDownResponse:
        """Set the rest before each job."""
        wanted = request.HasField("cool_down")
        await self._rests.set_rule(from_wire(request.cool_down, CoolDown) if wanted else None)
        return lease_pb2.SetCoolDownResponse(availability=self._said(self._leases.availability))
