"""Telemetry on the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.types.telemetry import TelemetryStatus
from edgeloop_protocol.v1 import telemetry_pb2, telemetry_pb2_grpc

from edgeloop_agent.access.peer import Context
from edgeloop_agent.telemetry.request_log import request_log_lines
from edgeloop_agent.telemetry.sampler import OFF, Telemetry

__all__ = ["TelemetryService"]

_SAMPLES_AT_ONCE = 64

_NONE = TelemetryStatus(epoch="", period_s=0.0, first_sequence=1, next_sequence=1, reason=OFF)


class TelemetryService(telemetry_pb2_grpc.TelemetryServiceServicer):
    """Hands out samples from where a reader stands.

    Args:
        telemetry: the sampler; None when it is off.
        fs: where request logs are.
        state: the agent's state directory.
        device_id: of the device.
    """

    def __init__(self, telemetry: Telemetry | None, fs: FileSystem, state: Path, device_id: str) -> None:
        self._telemetry, self._fs, self._state, self._device_id = telemetry, fs, state, device_id

    async def ReadTelemetry(  # noqa: N802 - named by the wire
        self, request: telemetry_pb2.ReadTelemetryRequest, context: Context
    ) -> AsyncIterator[telemetry_pb2.ReadTelemetryResponse]:
        """Stream the samples after a number, the status first."""
        if self._telemetry is None:
            yield telemetry_pb2.ReadTelemetryResponse(status=self._wire(_NONE))
            return
        dropped, samples = await asyncio.to_thread(
            self._telemetry.ring.read, request.epoch, request.after_sequence
        )
        status = self._wire(self._telemetry.status())
        yield telemetry_pb2.ReadTelemetryResponse(status=status, dropped_count=dropped)
        while some := await asyncio.to_thread(lambda: list(islice(samples, _SAMPLES_AT_ONCE))):
            yield telemetry_pb2.ReadTelemetryResponse(
                samples=[to_wire(sample, telemetry_pb2.TelemetrySample()) for sample in some]
            )

    def _wire(self, status: TelemetryStatus) -> telemetry_pb2.TelemetryStatus:
        told = replace(status, device_id=self._device_id, wall_s=status.wall_s or time.time())
        return to_wire(told, telemetry_pb2.TelemetryStatus())

    async def ReadRequestLog(  # noqa: N802 - named by the wire
        self, request: telemetry_pb2.ReadRequestLogRequest, context: Context
    ) -> AsyncIterator[telemetry_pb2.ReadRequestLogResponse]:
        """Stream the lines of a request log."""
        lines = request_log_lines(self._fs, self._state, request.name)
        while (some := await asyncio.to_thread(next, lines, None)) is not None:
            yield telemetry_pb2.ReadRequestLogResponse(lines=some)
