"""The daemon's identity: changed by the program that enrols, seen by the next connection."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from edgeloop_agent.device_identity import DeviceIdentity
from edgeloop_agent.listen import TlsListener, UnixListener
from edgeloop_foundation.errors import InvalidInputError, StateError
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_protocol.types.identity import Role, SignedTrust
from edgeloop_protocol.v1 import identity_pb2, identity_pb2_grpc

from tests.device_agent.access.matrix import ALLOWED, FleetKit, Method, outcome
from tests.device_agent.conftest import running_agent, stub

HEALTH = Method(path="/grpc.health.v1.Health/Check", client_streams=False, server_streams=False)


class OffClock(SystemClock):
    """A board's clock before the network set it."""

    def wall_s(self) -> float:
        return 1000.0


@pytest.fixture
def kit(tmp_path: Path) -> FleetKit:
    made = FleetKit(tmp_path / "fleet")
    made.enrol((sys.executable, "-m", "edgeloop_agent"))
    return made


def open_identity(kit: FleetKit, clock: Any = None) -> DeviceIdentity:
    identity = DeviceIdentity(OsFileSystem(), clock or SystemClock(), kit.state, SystemProcesses())
    identity.open()
    return identity


async def test_new_connections_see_a_renewed_certificate_and_old_ones_live_on(kit: FleetKit) -> None:
    desk = kit.holder(Role.CONTROLLER, "desk")
    seen = open_identity(kit)
    listener = TlsListener(host="127.0.0.1", port=0, material=seen.material)
    async with running_agent(kit.root / "other", listener=listener) as (_, address):
        async with kit.channel(address, desk) as old:
            assert await outcome(old, HEALTH) == ALLOWED
            before = seen.material()
            await seen.install(kit.authority.sign(await seen.request_certificate(), kit.device).chain)
            assert seen.material() != before
            assert await outcome(old, HEALTH) == ALLOWED
            async with kit.channel(address, desk) as new:
                assert await outcome(new, HEALTH) == ALLOWED
        # After the rollover only the new root is known to this client, so an old certificate would fail.
        kit.authority.begin_rollover()
        kit.authority.switch_rollover()
        await seen.update_trust(kit.authority.trust())
        await seen.install(kit.authority.sign(await seen.request_certificate(), kit.device).chain)
        desk = kit.holder(Role.CONTROLLER, "desk")
        await seen.update_trust(kit.authority.finish_rollover())
        async with kit.channel(address, desk) as new:
            assert await outcome(new, HEALTH) == ALLOWED


async def test_what_the_program_refuses_arrives_as_that_error(kit: FleetKit) -> None:
    identity = open_identity(kit)
    await identity.request_certificate()
    with pytest.raises(InvalidInputError, match="no certificate in what"):
        await identity.install("nonsense")
    with pytest.raises(InvalidInputError, match="not signed"):
        await identity.update_trust(SignedTrust(payload="{}", signatures=()))
    assert identity.status().trust_number == 1


async def test_two_changes_at_once_do_not_mix(kit: FleetKit) -> None:
    identity = open_identity(kit)
    requests = await asyncio.gather(identity.request_certificate(), identity.request_certificate())
    assert len(set(requests)) == 2
    # Only the key that was made last waits for its certificate.
    with pytest.raises(InvalidInputError, match="another key"):
        await identity.install(kit.authority.sign(requests[0], kit.device).chain)
    await identity.install(kit.authority.sign(requests[1], kit.device).chain)


def test_a_clock_before_the_trust_list_is_told(kit: FleetKit) -> None:
    assert open_identity(kit).status().clock_trusted
    off = open_identity(kit, OffClock()).status()
    assert not off.clock_trusted
    assert off.wall_time_s == 1000.0


async def test_a_device_that_is_not_enrolled_says_so(tmp_path: Path, unix_listener: UnixListener) -> None:
    async with (
        running_agent(tmp_path / "s", listener=unix_listener) as (agent, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        client = stub(identity_pb2_grpc.IdentityServiceStub, channel)
        status = (await client.GetIdentity(identity_pb2.GetIdentityRequest())).status
        assert (status.uri, status.trust_number, status.HasField("not_after_s")) == ("", 0, False)
        with pytest.raises(grpc.aio.AioRpcError, match="not enrolled") as refused:
            await client.RequestCertificate(identity_pb2.RequestCertificateRequest())
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(StateError, match="not enrolled"):
            agent.identity.material()
