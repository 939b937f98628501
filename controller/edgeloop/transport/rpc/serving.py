"""What one agent serves, over its channel."""

from __future__ import annotations

from typing import Any

from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.types.serving import ServingSpec, ServingStatus
from edgeloop_protocol.v1 import serving_pb2

from edgeloop.transport.rpc.call import Caller, decoded

__all__ = ["ServingCalls"]

# The process that served before finishes what it began, and the new one starts Python and NumPy on a slow board.
_SERVE_S = 120.0
_SHORT_S = 15.0


class ServingCalls:
    """Raises what ``AgentClient`` raises."""

    def __init__(self, caller: Caller, stub: Any) -> None:
        self._caller, self._stub = caller, stub

    async def serve(self, spec: ServingSpec) -> ServingStatus:
        """Serve a deployment from now on, restarts of the agent included; return once its process listens.

        Raises:
            NotFoundError: there is no deployment of that name.
            StateError: it has no version, or cannot be served so.
            UnsupportedError: the board is a simulated one.
        """
        request = serving_pb2.ServeRequest()
        to_wire(spec, request.spec)
        answer = await self._caller.again(
            self._stub.Serve, request, what=f"serving {spec.name}", deadline_s=_SERVE_S
        )
        return decoded(answer.status, ServingStatus, self._caller.device)

    async def stop(self, name: str) -> bool:
        """Serve a deployment no more; return whether it was served."""
        request = serving_pb2.StopServingRequest(name=name)
        answer = await self._caller.once(
            self._stub.StopServing, request, what=f"ending the serving of {name}", deadline_s=_SERVE_S
        )
        return bool(answer.was_served)

    async def listing(self) -> tuple[ServingStatus, ...]:
        """Return everything that the device serves."""
        answer = await self._caller.again(
            self._stub.ListServing,
            serving_pb2.ListServingRequest(),
            what="listing what is served",
            deadline_s=_SHORT_S,
        )
        return tuple(decoded(one, ServingStatus, self._caller.device) for one in answer.serving)
