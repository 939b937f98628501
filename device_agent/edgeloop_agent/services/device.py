"""Who the device is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol import CAPABILITIES, PROTOCOL_VERSION
from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.facts import Hello
from edgeloop_protocol.v1 import device_pb2, device_pb2_grpc

from edgeloop_agent import __version__
from edgeloop_agent.gate import Context

if TYPE_CHECKING:
    from edgeloop_agent.board import Board
    from edgeloop_agent.looks import Looks

__all__ = ["DeviceService"]


class DeviceService(device_pb2_grpc.DeviceServiceServicer):
    """Answers before anybody holds a lease."""

    def __init__(self, board: Board, device_id: str, looks: Looks) -> None:
        self._board = board
        self._looks = looks
        self._device_id = device_id

    async def SayHello(  # noqa: N802 - named by the wire
        self, request: device_pb2.SayHelloRequest, context: Context
    ) -> device_pb2.SayHelloResponse:
        """Introduce the agent, or refuse a peer that would not understand it."""
        peer = from_wire(request.hello, Hello)
        if peer.protocol_version < PROTOCOL_VERSION:
            raise UnsupportedError(
                f"this agent speaks protocol version {PROTOCOL_VERSION}, "
                f"the controller only {peer.protocol_version}.",
                next_step="Update the controller.",
            )
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            software_version=__version__,
            capabilities=CAPABILITIES,
            peer_id=self._device_id,
        )
        return device_pb2.SayHelloResponse(hello=to_wire(hello, device_pb2.Hello()))

    async def Describe(  # noqa: N802 - named by the wire
        self, request: device_pb2.DescribeRequest, context: Context
    ) -> device_pb2.DescribeResponse:
        """Return the facts as probed for this call."""
        facts = await self._board.facts()
        return device_pb2.DescribeResponse(facts=to_wire(facts, device_pb2.Facts()))

    async def GetVitals(  # noqa: N802 - named by the wire
        self, request: device_pb2.GetVitalsRequest, context: Context
    ) -> device_pb2.GetVitalsResponse:
        """Return how the device is now, from a look that others may have caused."""
        vitals = await self._looks.look()
        return device_pb2.GetVitalsResponse(vitals=to_wire(vitals, device_pb2.DeviceVitals()))
