"""Serving on the wire of the agent: begin, end, tell. Inference itself never passes here."""

from __future__ import annotations

from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.serving import ServingSpec, ServingStatus
from edgeloop_protocol.v1 import serving_pb2, serving_pb2_grpc

from edgeloop_agent.access.peer import Context
from edgeloop_agent.served_models import ServedModels

__all__ = ["ServingService"]


def _wire(status: ServingStatus) -> serving_pb2.ServingStatus:
    return to_wire(status, serving_pb2.ServingStatus())


class ServingService(serving_pb2_grpc.ServingServiceServicer):
    """Begins, ends and tells.

    Args:
        served: what is served.
        simulated: whether the board is a simulated one, which has no processor of its own to answer with.
    """

    def __init__(self, served: ServedModels, *, simulated: bool) -> None:
        self._served, self._simulated = served, simulated

    async def Serve(  # noqa: N802 - named by the wire
        self, request: serving_pb2.ServeRequest, context: Context
    ) -> serving_pb2.ServeResponse:
        """Begin to serve a deployment."""
        if self._simulated:
            raise UnsupportedError(
                "a simulated board serves no model: answers would come with this machine's latency.",
                next_step="Deploy to a real device, this machine for example.",
            )
        status = await self._served.serve(from_wire(request.spec, ServingSpec))
        return serving_pb2.ServeResponse(status=_wire(status))

    async def StopServing(  # noqa: N802 - named by the wire
        self, request: serving_pb2.StopServingRequest, context: Context
    ) -> serving_pb2.StopServingResponse:
        """Serve a deployment no more."""
        was_served = await self._served.stop_serving(request.name)
        return serving_pb2.StopServingResponse(was_served=was_served)

    async def ListServing(  # noqa: N802 - named by the wire
        self, request: serving_pb2.ListServingRequest, context: Context
    ) -> serving_pb2.ListServingResponse:
        """Tell everything that is served."""
        return serving_pb2.ListServingResponse(serving=[_wire(status) for status in self._served.list()])
