"""How far an upload runs ahead of what the device made safe: what a break costs, on a slow link and a fast one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from edgeloop.transport.rpc import upload
from edgeloop.transport.rpc.call import Caller, RetryPolicy
from edgeloop.transport.rpc.upload import Sender, raw_writer, upload_name
from edgeloop_protocol.v1 import bytestream_pb2, bytestream_pb2_grpc

MIB = 1 << 20


class Zeros:
    """A content of zeros."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def read(self, offset: int, size: int) -> bytes:
        return bytes(min(size, self.size_bytes - offset))


class Receiver(bytestream_pb2_grpc.ByteStreamServicer):
    """Takes an upload as fast as it comes and calls safe what it is told to."""

    def __init__(self, *, holds_back: int) -> None:
        self.holds_back = holds_back
        self.received = 0
        self.safe = 0
        self.furthest_ahead = 0

    async def Write(self, requests, context):
        async for request in requests:
            self.received += len(request.data)
            self.furthest_ahead = max(self.furthest_ahead, self.received - self.safe)
        self.safe = self.received
        return bytestream_pb2.WriteResponse(committed_size=self.received)

    async def QueryWriteStatus(self, request, context):
        # A device with much to make safe: it is always so many bytes behind.
        self.safe = max(self.safe, self.received - self.holds_back)
        return bytestream_pb2.QueryWriteStatusResponse(committed_size=self.safe)


@asynccontextmanager
async def sending(receiver: Receiver, size_bytes: int, home: Path) -> AsyncIterator[Sender]:
    server = grpc.aio.server()
    bytestream_pb2_grpc.add_ByteStreamServicer_to_server(receiver, server)
    address = f"unix:{home / 's'}"
    server.add_insecure_port(address)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = bytestream_pb2_grpc.ByteStreamStub(channel)
            stub.Write = raw_writer(channel)
            yield Sender(
                Caller("device", address, RetryPolicy()),
                stub,
                Zeros(size_bytes),
                upload_name("0" * 64, size_bytes),
            )
    finally:
        await server.stop(None)


async def test_a_device_that_makes_nothing_safe_is_sent_8_mib(tmp_path: Path) -> None:
    receiver = Receiver(holds_back=64 * MIB)
    async with sending(receiver, 64 * MIB, tmp_path) as sender:
        writing = asyncio.create_task(sender.write_from(0, lambda _: None))
        await asyncio.wait({writing}, timeout=2.0)
        writing.cancel()
        await asyncio.wait({writing})
    assert receiver.furthest_ahead == 8 * MIB


async def test_a_fast_link_is_used_further_ahead_and_not_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fast is what carries 16 MiB in this time; a machine that runs tests carries it in a second.
    monkeypatch.setattr(upload, "_AHEAD_S", 2.0)
    receiver = Receiver(holds_back=4 * MIB)

    def tell(sent: int) -> None:
        # From here on it is always 12 MiB behind: who sends 8 ahead would stand still.
        receiver.holds_back = (12 if sent > 80 * MIB else 4) * MIB

    async with sending(receiver, 192 * MIB, tmp_path) as sender:
        assert await sender.write_from(0, tell) is None
    assert receiver.received == 192 * MIB
    assert 12 * MIB < receiver.furthest_ahead <= 16 * MIB


async def test_a_call_that_brought_little_runs_no_further_ahead_on_a_fast_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_AHEAD_S", 2.0)
    receiver = Receiver(holds_back=4 * MIB)
    async with sending(receiver, 30 * MIB, tmp_path) as sender:
        assert await sender.write_from(0, lambda _: None) is None
    assert receiver.furthest_ahead <= 8 * MIB
