"""The deployments of one agent, over its channel."""

from __future__ import annotations

from typing import Any

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.envelope import read_statement
from edgeloop_protocol.types.attestation import ParityStatement
from edgeloop_protocol.types.deployment import DeploymentStatus, ReleaseBundle
from edgeloop_protocol.v1 import deployment_pb2

from edgeloop.transport.rpc.call import Caller, decoded
from edgeloop.transport.rpc.lease import LeaseHandle

__all__ = ["DeploymentCalls"]

_SHORT_S = 15.0
# Verification starts a program on a slow board.
_VERIFY_S = 90.0
# It loads the model twice and runs it.
_ATTEST_S = 300.0


class DeploymentCalls:
    """Raises what ``AgentClient`` raises."""

    def __init__(self, caller: Caller, stub: Any) -> None:
        self._caller, self._stub = caller, stub

    async def pin_root(self, root: str) -> bool:
        """Let the device trust a root; return False when it did already.

        Raises:
            StateError: it trusts another one.
        """
        request = deployment_pb2.PinRootRequest(root=root)
        answer = await self._caller.again(
            self._stub.PinRoot, request, what="pinning the release root", deadline_s=_VERIFY_S
        )
        return bool(answer.pinned_now)

    async def deploy(
        self, name: str, bundle: ReleaseBundle, lease: LeaseHandle, trial_s: float
    ) -> DeploymentStatus:
        """Hand a release over and return how it stands once it is verified.

        Raises:
            AccessDeniedError: the release does not hold.
            StateError: the device's clock, runtime or trust state does not allow it.
            BusyError: another installation is under way.
        """
        request = deployment_pb2.DeployRequest(
            name=name, lease_id=lease.lease_id, fencing_token=lease.fencing_token, trial_s=trial_s
        )
        to_wire(bundle, request.bundle)
        answer = await self._caller.once(
            self._stub.Deploy, request, what=f"deploying {name}", deadline_s=_VERIFY_S
        )
        return self._status(answer)

    async def rollback(self, name: str) -> DeploymentStatus:
        """Go back to the version before.

        Raises:
            NotFoundError: there is no deployment of that name.
            StateError: there is no version before.
        """
        request = deployment_pb2.RollbackRequest(name=name)
        answer = await self._caller.once(
            self._stub.Rollback, request, what=f"rolling {name} back", deadline_s=_SHORT_S
        )
        return self._status(answer)

    async def cancel(self, name: str) -> DeploymentStatus:
        """End an installation under way.

        Raises:
            NotFoundError: there is no deployment of that name.
        """
        request = deployment_pb2.CancelDeploymentRequest(name=name)
        answer = await self._caller.again(
            self._stub.CancelDeployment, request, what=f"cancelling {name}", deadline_s=_VERIFY_S
        )
        return self._status(answer)

    async def attest(self, name: str, lease: LeaseHandle, life_s: float) -> tuple[ParityStatement, str]:
        """Have what serves verified and run, and return the statement and, of an enrolled device, its envelope.

        Raises:
            NotFoundError: nothing serves under that name.
            StateError: it does not load, differs from its golden pack, or breaks a limit.
            CorruptDataError: it is not what was signed, or the answer is no statement.
        """
        request = deployment_pb2.AttestDeploymentRequest(
            name=name, lease_id=lease.lease_id, fencing_token=lease.fencing_token, life_s=life_s
        )
        answer = await self._caller.once(
            self._stub.AttestDeployment, request, what=f"attesting {name}", deadline_s=_ATTEST_S
        )
        try:
            return read_statement(answer.statement), str(answer.envelope)
        except InvalidInputError as error:
            raise CorruptDataError(f"{self._caller.device}: {error.message}") from error

    async def listing(self) -> tuple[DeploymentStatus, ...]:
        """Return every deployment of the device."""
        answer = await self._caller.again(
            self._stub.ListDeployments,
            deployment_pb2.ListDeploymentsRequest(),
            what="listing deployments",
            deadline_s=_SHORT_S,
        )
        return tuple(decoded(one, DeploymentStatus, self._caller.device) for one in answer.deployments)

    def _status(self, answer: Any) -> DeploymentStatus:
        return decoded(answer.status, DeploymentStatus, self._caller.device)
