"""Every method called as every kind of caller, over real connections; and what revocation does to calls that run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from edgeloop_agent.listen import LoopbackListener, TlsListener, UnixListener
from edgeloop_agent.server import Agent
from edgeloop_protocol.types.identity import Role
from edgeloop_protocol.v1 import bytestream_pb2, bytestream_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.device_agent.access.matrix import (
    ALLOWED,
    CALLERS,
    DENIED,
    UNKNOWN,
    FleetKit,
    Method,
    expected,
    methods,
    outcome,
    update_trust,
    whole_matrix,
)
from tests.device_agent.conftest import SMALL, QuietBoard, ScriptedExecute, running_agent, stub, until

AGENT = (sys.executable, "-m", "edgeloop_agent")
HEALTH = Method(path="/grpc.health.v1.Health/Check", client_streams=False, server_streams=False)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> FleetKit:
    """An enrolled device; its agent is started by each test."""
    made = FleetKit(tmp_path_factory.mktemp("fleet"))
    made.enrol(AGENT)
    return made


def make_agent(state: Path) -> Agent:
    from edgeloop_foundation.ports.clock import SystemClock
    from edgeloop_foundation.ports.fs import OsFileSystem

    return Agent(
        fs=OsFileSystem(),
        clock=SystemClock(),
        state_directory=state,
        board=QuietBoard(),
        execute=ScriptedExecute(),
        boot_id="boot-1",
        limits=SMALL,
        ordinary_calls_max=64,
    )


@contextlib.asynccontextmanager
async def enrolled_agent(kit: FleetKit) -> AsyncIterator[tuple[Agent, str]]:
    agent = make_agent(kit.state)
    address = await agent.start(TlsListener(host="127.0.0.1", port=0, material=agent.identity.material))
    try:
        yield agent, address
    finally:
        await agent.stop()


async def test_every_method_as_every_caller(tmp_path: Path) -> None:
    kit = FleetKit(tmp_path / "fleet")
    kit.enrol(AGENT)
    socket = UnixListener(path=tmp_path / "s.sock")
    async with (
        enrolled_agent(kit) as (_, address),
        running_agent(tmp_path / "other", listener=socket, ordinary_calls_max=64) as (_, socket_address),
    ):
        found = await whole_matrix(kit, address, socket_address)
    assert tuple(found) == CALLERS
    wrong = {
        (caller, method.path): found[caller][method.path]
        for caller in CALLERS
        for method in methods()
        if found[caller][method.path] != expected(caller, method)
    }
    assert wrong == {}


async def test_a_method_without_a_rule_is_denied_to_the_controller(kit: FleetKit) -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        return b"should not be seen"

    handler = grpc.unary_unary_rpc_method_handler(answer)  # type: ignore[arg-type]
    agent = make_agent(kit.state)
    agent._server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("edgeloop.v1.New", {"Do": handler}),)
    )
    address = await agent.start(TlsListener(host="127.0.0.1", port=0, material=agent.identity.material))
    try:
        async with kit.channel(address, kit.holder(Role.CONTROLLER, "desk")) as channel:
            new = Method(path="/edgeloop.v1.New/Do", client_streams=False, server_streams=False)
            assert await outcome(channel, new) == DENIED
            assert await outcome(channel, HEALTH) == ALLOWED
    finally:
        await agent.stop()


@pytest.mark.parametrize(
    "uris",
    [
        (),
        ("spiffe://lab/root/odd",),
        ("spiffe://lab/controller/odd", "spiffe://lab/controller/two"),
        ("spiffe://lab/controller/odd/x",),
        ("https://lab/controller/odd",),
        ("spiffe://other/controller/odd",),
    ],
)
async def test_a_certificate_of_the_fleet_without_a_role_in_it_is_nobody(
    kit: FleetKit, uris: tuple[str, ...]
) -> None:
    async with (
        enrolled_agent(kit) as (_, address),
        kit.channel(address, kit.odd(uris=uris)) as channel,
    ):
        assert await outcome(channel, HEALTH) == UNKNOWN


async def test_plain_tcp_is_the_owner_only_where_the_agent_was_told_so(tmp_path: Path) -> None:
    listener = LoopbackListener(host="127.0.0.1", port=0)
    async with (
        running_agent(tmp_path / "s", listener=listener) as (agent, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        assert await outcome(channel, HEALTH) == ALLOWED
        agent._access.trusts_loopback = False
        assert await outcome(channel, HEALTH) == UNKNOWN


async def test_a_running_stream_of_a_revoked_key_ends_at_once_and_says_why(tmp_path: Path) -> None:
    kit = FleetKit(tmp_path / "fleet")
    kit.enrol(AGENT)
    lost, desk = kit.holder(Role.CONTROLLER, "lost"), kit.holder(Role.CONTROLLER, "desk")
    async with (
        enrolled_agent(kit) as (_, address),
        kit.channel(address, lost) as live,
        kit.channel(address, desk) as channel,
    ):
        watch = stub(health_pb2_grpc.HealthStub, live).Watch(health_pb2.HealthCheckRequest())
        other = stub(health_pb2_grpc.HealthStub, channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        await other.read()
        writes = live.stream_unary("/google.bytestream.ByteStream/Write")()
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await update_trust(channel, kit.revoke("lost"))
        with pytest.raises(grpc.aio.AioRpcError, match="is revoked") as ended:
            await asyncio.wait_for(watch.read(), 5.0)
        assert time.monotonic() - began < 5.0
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError, match="is revoked"):
            await asyncio.wait_for(writes, 5.0)
        assert await outcome(live, HEALTH) == UNKNOWN
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(other.read(), 0.3)
    # It is still so after a restart.
    async with enrolled_agent(kit) as (_, address), kit.channel(address, lost) as again:
        assert await outcome(again, HEALTH) == UNKNOWN


async def test_a_reader_that_does_not_read_is_cut_off_too(tmp_path: Path) -> None:
    kit = FleetKit(tmp_path / "fleet")
    kit.enrol(AGENT)
    lost, desk = kit.holder(Role.CONTROLLER, "lost"), kit.holder(Role.CONTROLLER, "desk")
    async with (
        enrolled_agent(kit) as (agent, address),
        kit.channel(address, lost) as live,
        kit.channel(address, desk) as channel,
    ):
        # Much more than the flow windows of HTTP/2 and the buffers of sockets hold.
        data = os.urandom(1 << 20) * 64
        digest = agent.store.put(data)
        request = bytestream_pb2.ReadRequest(resource_name=f"blobs/{digest}/{len(data)}")
        call = stub(bytestream_pb2_grpc.ByteStreamStub, live).Read(request)
        await call.read()
        # The agent waits for the reader by now.
        await asyncio.sleep(0.5)
        await update_trust(channel, kit.revoke("lost"))
        await until(lambda: not any(a.peer.name.endswith("/lost") for a in agent._access._running))
        received = 0
        with contextlib.suppress(grpc.aio.AioRpcError):
            while (answer := await asyncio.wait_for(call.read(), 5.0)) is not grpc.aio.EOF:
                received += len(answer.data)
        assert await call.code() is not grpc.StatusCode.OK
        assert received < len(data) // 2
