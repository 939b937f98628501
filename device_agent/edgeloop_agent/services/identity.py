"""The device's identity on the wire."""

from __future__ import annotations

from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.identity import IdentityStatus, SignedTrust
from edgeloop_protocol.v1 import identity_pb2, identity_pb2_grpc

from edgeloop_agent.access.peer import Context
from edgeloop_agent.device_identity import DeviceIdentity

__all__ = ["IdentityService"]


def _wire(status: IdentityStatus) -> identity_pb2.IdentityStatus:
    return to_wire(status, identity_pb2.IdentityStatus())


class IdentityService(identity_pb2_grpc.IdentityServiceServicer):
    """Tells how the device stands, renews its certificate, takes trust lists."""

    def __init__(self, identity: DeviceIdentity) -> None:
        self._identity = identity

    async def GetIdentity(  # noqa: N802 - named by the wire
        self, request: identity_pb2.GetIdentityRequest, context: Context
    ) -> identity_pb2.GetIdentityResponse:
        """Return how the device stands."""
        return identity_pb2.GetIdentityResponse(status=_wire(self._identity.status()))

    async def RequestCertificate(  # noqa: N802 - named by the wire
        self, request: identity_pb2.RequestCertificateRequest, context: Context
    ) -> identity_pb2.RequestCertificateResponse:
        """Make a new key and return the request for its certificate."""
        pem = await self._identity.request_certificate()
        return identity_pb2.RequestCertificateResponse(request_pem=pem)

    async def InstallCertificate(  # noqa: N802 - named by the wire
        self, request: identity_pb2.InstallCertificateRequest, context: Context
    ) -> identity_pb2.InstallCertificateResponse:
        """Use a renewed certificate."""
        status = await self._identity.install(request.chain_pem)
        return identity_pb2.InstallCertificateResponse(status=_wire(status))

    async def UpdateTrust(  # noqa: N802 - named by the wire
        self, request: identity_pb2.UpdateTrustRequest, context: Context
    ) -> identity_pb2.UpdateTrustResponse:
        """Use a newer trust list."""
        status = await self._identity.update_trust(from_wire(request.trust, SignedTrust))
        return identity_pb2.UpdateTrustResponse(status=_wire(status))
