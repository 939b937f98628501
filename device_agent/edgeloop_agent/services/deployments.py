"""Deployments on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.deployment import DeploymentStatus, ReleaseBundle
from edgeloop_protocol.v1 import deployment_pb2, deployment_pb2_grpc

from edgeloop_agent.access.peer import Context
from edgeloop_agent.deployments import Deployments
from edgeloop_agent.leases import Leases
from edgeloop_agent.release_trust import ReleaseTrust

__all__ = ["DeploymentService"]


def _wire(status: DeploymentStatus) -> deployment_pb2.DeploymentStatus:
    return to_wire(status, deployment_pb2.DeploymentStatus())


class DeploymentService(deployment_pb2_grpc.DeploymentServiceServicer):
    """Pins the root, installs, rolls back, tells, attests."""

    def __init__(
        self,
        deployments: Deployments,
        trust: ReleaseTrust,
        leases: Leases,
        attest: Callable[[str, float], Awaitable[tuple[str, str]]],
    ) -> None:
        self._deployments, self._trust, self._leases, self._attest = deployments, trust, leases, attest

    async def PinRoot(  # noqa: N802 - named by the wire
        self, request: deployment_pb2.PinRootRequest, context: Context
    ) -> deployment_pb2.PinRootResponse:
        """Pin the root of trust of a device that has none."""
        return deployment_pb2.PinRootResponse(pinned_now=await self._trust.pin(request.root))

    async def Deploy(  # noqa: N802 - named by the wire
        self, request: deployment_pb2.DeployRequest, context: Context
    ) -> deployment_pb2.DeployResponse:
        """Verify a release and begin to install it; the probe disturbs a benchmark, so the device is leased.

        A shared lease is enough: it keeps benchmarks away, and installations go one after another by themselves.
        """
        self._leases.check(request.lease_id, request.fencing_token, shared=True)
        bundle = from_wire(request.bundle, ReleaseBundle)
        status = await self._deployments.deploy(request.name, bundle, request.trial_s)
        return deployment_pb2.DeployResponse(status=_wire(status))

    async def Rollback(  # noqa: N802 - named by the wire
        self, request: deployment_pb2.RollbackRequest, context: Context
    ) -> deployment_pb2.RollbackResponse:
        """Go back to the version before."""
        return deployment_pb2.RollbackResponse(status=_wire(await self._deployments.rollback(request.name)))

    async def CancelDeployment(  # noqa: N802 - named by the wire
        self, request: deployment_pb2.CancelDeploymentRequest, context: Context
    ) -> deployment_pb2.CancelDeploymentResponse:
        """End an installation under way."""
        status = await self._deployments.cancel(request.name)
        return deployment_pb2.CancelDeploymentResponse(status=_wire(status))

    async def ListDeployments(  # noqa: N802 - named by the wire
        self, request: deployment_pb2.ListDeploymentsRequest, context: Context
    ) -> deployment_pb2.ListDeploymentsResponse:
        """Tell every deployment."""
        known = await asyncio.to_thread(self._deployments.list)
        return deployment_pb2.ListDeploymentsResponse(deployments=[_wire(status) for status in known])

    async def AttestDeployment(  # noqa: N802 - named by the wire
        self, request: deployment_pb2.AttestDeploymentRequest, context: Context
    ) -> deployment_pb2.AttestDeploymentResponse:
        """State whether what serves agrees with its golden pack; running it disturbs a benchmark, so it is leased."""
        self._leases.check(request.lease_id, request.fencing_token)
        statement, envelope = await self._attest(request.name, request.life_s)
        return deployment_pb2.AttestDeploymentResponse(statement=statement, envelope=envelope)
