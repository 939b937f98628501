"""Results on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.v1 import run_pb2, run_pb2_grpc

from edgeloop_agent.gate import Context
from edgeloop_agent.spool import Spool

__all__ = ["SpoolService"]


class SpoolService(run_pb2_grpc.SpoolServiceServicer):
    """Hands out results until they are acknowledged."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def Fetch(  # noqa: N802 - named by the wire
        self, request: run_pb2.FetchRequest, context: Context
    ) -> AsyncIterator[run_pb2.FetchResponse]:
        """Stream the waiting records, oldest first."""
        records = self._spool.fetch(request.after_sequence)
        while (record := await asyncio.to_thread(next, records, None)) is not None:
            yield run_pb2.FetchResponse(spooled_run=to_wire(record, run_pb2.SpooledRun()))

    async def Acknowledge(  # noqa: N802 - named by the wire
        self, request: run_pb2.AcknowledgeRequest, context: Context
    ) -> run_pb2.AcknowledgeResponse:
        """Forget what the controller has stored."""
        remaining = await asyncio.to_thread(self._spool.acknowledge, request.epoch, request.up_to_sequence)
        return run_pb2.AcknowledgeResponse(remaining_count=remaining)
