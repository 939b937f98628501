"""What one agent has noted about itself, over its channel."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.types.telemetry import TelemetrySample, TelemetryStatus
from edgeloop_protocol.v1 import telemetry_pb2

from edgeloop.domain.telemetry import TelemetryBatch
from edgeloop.transport.rpc.call import Caller, decoded

__all__ = ["TelemetryCalls"]

_READ_S = 120.0
# A device that was away for a week sends what its ring holds, some tens of thousands of samples; the rest comes with
# the next reading.
_SAMPLES_MAX = 20_000


class TelemetryCalls:
    """Raises what ``AgentClient`` raises."""

    def __init__(self, caller: Caller, stub: Any) -> None:
        self._caller, self._stub = caller, stub

    async def read(self, epoch: str = "", after_sequence: int = 0) -> TelemetryBatch:
        """Return what the device noted after a number.

        Args:
            epoch: the ring that the number is of; empty for everything that is kept.
            after_sequence: number of the last sample that was read.

        Raises:
            UnsupportedError: the agent is too old.
        """
        request = telemetry_pb2.ReadTelemetryRequest(epoch=epoch, after_sequence=after_sequence)
        answers = self._caller.stream(
            self._stub.ReadTelemetry, request, what="reading telemetry", deadline_s=_READ_S
        )
        status, dropped, received_bytes, samples = None, 0, 0, list[TelemetrySample]()
        async with contextlib.aclosing(answers):
            async for answer in answers:
                received_bytes += answer.ByteSize()
                if answer.HasField("status"):
                    status = decoded(answer.status, TelemetryStatus, self._caller.device)
                    dropped = answer.dropped_count
                samples += [decoded(one, TelemetrySample, self._caller.device) for one in answer.samples]
                if len(samples) >= _SAMPLES_MAX:
                    break
        if status is None:
            raise UnsupportedError(
                f"{self._caller.device}: its agent told no status of its telemetry.",
                next_step="Update the agent.",
            )
        return TelemetryBatch(
            asked_epoch=epoch,
            asked_after=after_sequence,
            status=status,
            dropped_count=dropped,
            samples=tuple(samples),
            received_bytes=received_bytes,
        )

    async def request_log(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield whole lines of the request log of a served deployment, the oldest first.

        Raises:
            NotFoundError: none is kept.
        """
        answers = self._caller.stream(
            self._stub.ReadRequestLog,
            telemetry_pb2.ReadRequestLogRequest(name=name),
            what=f"reading the request log of {name}",
            deadline_s=_READ_S,
        )
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield answer.lines
