"""TLS and what each server option really does, each one seen from the outside."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gzip
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from edgeloop_agent.listen import (
    Listener,
    LoopbackListener,
    TlsListener,
    UnixListener,
    listener_for,
)
from edgeloop_agent.server import SERVER_OPTIONS
from edgeloop_agent.tls_material import TlsMaterial, WatchedFiles
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.v1 import bytestream_pb2, bytestream_pb2_grpc, lease_pb2, lease_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .conftest import running_agent, stub

LOOPBACK = LoopbackListener(host="127.0.0.1", port=0)
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    key: bytes
    certificate: bytes


class Authority:
    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self._name, self._key, is_authority=True).public_bytes(
            serialization.Encoding.PEM
        )

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.UniformResourceIdentifier("spiffe://lab/controller/desk"),
        ]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, name: str) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, is_authority=False)
        return Identity(
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
        )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("fleet")


@pytest.fixture
def tls_listener(tmp_path: Path, authority: Authority) -> TlsListener:
    identity = authority.issue("agent")
    for name, data in (("c", identity.certificate), ("k", identity.key), ("ca", authority.pem)):
        (tmp_path / f"{name}.pem").write_bytes(data)
    return TlsListener(
        host="127.0.0.1",
        port=0,
        material=WatchedFiles(
            certificate=tmp_path / "c.pem", key=tmp_path / "k.pem", client_ca=tmp_path / "ca.pem"
        ),
    )


def with_options(**changes: int) -> tuple[tuple[str, int], ...]:
    """Return the server's own options with some values changed; every name must be among them."""
    known = dict(SERVER_OPTIONS)
    for name, value in changes.items():
        (full,) = (option for option in known if option.rpartition(".")[2] == name)
        known[full] = value
    return tuple(known.items())


@contextlib.asynccontextmanager
async def connected(
    state: Path, *, listener: Listener = LOOPBACK, client: tuple[tuple[str, int], ...] = (), **changes: int
) -> AsyncIterator[tuple[str, grpc.aio.Channel]]:
    options = with_options(**changes)
    async with (
        running_agent(state, listener=listener, options=options) as (_, address),
        grpc.aio.insecure_channel(address, options=client) as channel,
    ):
        yield address, channel


async def check(channel: grpc.aio.Channel, timeout: float = 5.0) -> int:
    client = stub(health_pb2_grpc.HealthStub, channel)
    return int((await client.Check(health_pb2.HealthCheckRequest(), timeout=timeout)).status)


async def test_mutual_tls_lets_in_only_the_fleet(
    tmp_path: Path, tls_listener: TlsListener, authority: Authority
) -> None:
    async with running_agent(tmp_path / "s", listener=tls_listener) as (_, address):

        async def status(identity: Identity | None) -> int:
            credentials = grpc.ssl_channel_credentials(
                authority.pem,
                identity.key if identity else None,
                identity.certificate if identity else None,
            )
            async with grpc.aio.secure_channel(address, credentials) as channel:
                return await check(channel)

        assert await status(authority.issue("controller")) == health_pb2.HealthCheckResponse.SERVING
        for stranger in (None, Authority("fleet").issue("controller")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await status(stranger)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await check(channel)


async def test_a_message_above_4_mib_is_refused(tmp_path: Path) -> None:
    async with connected(tmp_path / "s") as (_, channel):
        client = stub(bytestream_pb2_grpc.ByteStreamStub, channel)
        for size, code in (
            (4 * MIB + 1, grpc.StatusCode.RESOURCE_EXHAUSTED),
            (3 * MIB, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            request = bytestream_pb2.QueryWriteStatusRequest(resource_name="x" * size)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.QueryWriteStatus(request)
            assert refused.value.code() is code


async def test_a_gzip_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    async with connected(tmp_path / "s") as (_, channel):
        request = bytestream_pb2.QueryWriteStatusRequest(resource_name="\0" * (64 * MIB))
        assert len(gzip.compress(request.SerializeToString(), compresslevel=1)) < MIB
        client = stub(bytestream_pb2_grpc.ByteStreamStub, channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.QueryWriteStatus(request, compression=grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await check(channel) == health_pb2.HealthCheckResponse.SERVING


async def test_a_message_sent_above_the_limit_is_refused(tmp_path: Path) -> None:
    async with connected(tmp_path / "s", max_send_message_length=10) as (_, channel):
        client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
        request = lease_pb2.LeaseRequest(request_id="r", holder="somebody", ttl_s=5.0)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in client.Acquire(lease_pb2.AcquireRequest(request=request)):
                pass
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_silent_peer_is_cut_off_after_a_while(tmp_path: Path, tls_listener: TlsListener) -> None:
    options = with_options(server_handshake_timeout_ms=700)
    async with running_agent(tmp_path / "s", listener=tls_listener, options=options) as (_, address):
        host, port = address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        start = time.monotonic()
        assert await asyncio.wait_for(reader.read(), timeout=30.0) == b""
        assert time.monotonic() - start > 0.5
        writer.close()


async def test_a_handshake_over_a_link_of_seconds_goes_through(
    tmp_path: Path, tls_listener: TlsListener, authority: Authority
) -> None:
    identity = authority.issue("controller")
    (tmp_path / "own.pem").write_bytes(identity.certificate + identity.key)
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.load_cert_chain(tmp_path / "own.pem")
    context.set_alpn_protocols(["h2"])

    def first_byte(port: int) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), 30.0) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", do_handshake_on_connect=False) as secured,
        ):
            time.sleep(2.3)  # what we say takes so long to get there
            secured.do_handshake()
            return secured.recv(1)

    async with running_agent(tmp_path / "s", listener=tls_listener) as (_, address):
        assert await asyncio.to_thread(first_byte, int(address.rpartition(":")[2])) == b"\0"


PINGING = (
    ("grpc.keepalive_time_ms", 300),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


async def hold_a_call(channel: grpc.aio.Channel, seconds: float) -> grpc.StatusCode | None:
    """Watch health for a while and return how the call ended, or None when it still stands."""
    client = stub(health_pb2_grpc.HealthStub, channel)
    call = client.Watch(health_pb2.HealthCheckRequest())
    await call.read()
    try:
        await asyncio.wait_for(call.read(), timeout=seconds)
    except asyncio.TimeoutError:
        return None
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_pings_are_counted_against_the_stated_interval(tmp_path: Path) -> None:
    assert ("grpc.http2.min_ping_interval_without_data_ms", 10_000) in SERVER_OPTIONS
    changes: Any = {"min_ping_interval_without_data_ms": 100}
    async with connected(tmp_path / "a", client=PINGING, **changes) as (_, channel):
        assert await hold_a_call(channel, 2.5) is None
    async with connected(tmp_path / "b", client=PINGING) as (_, channel):
        assert await hold_a_call(channel, 5.0) is grpc.StatusCode.UNAVAILABLE


async def test_pings_without_calls_are_permitted(tmp_path: Path) -> None:
    changes: Any = {"min_ping_interval_without_data_ms": 100}
    async with connected(tmp_path / "a", client=PINGING, **changes) as (_, channel):
        await check(channel)
        states = []

        async def follow() -> None:
            state = channel.get_state()
            while True:
                await channel.wait_for_state_change(state)
                state = channel.get_state()
                states.append(state)

        follower = asyncio.create_task(follow())
        # With the option off, the third ping ends the connection after two seconds.
        await asyncio.sleep(3.0)
        follower.cancel()
        assert states == []


async def test_a_connection_ends_at_its_age(tmp_path: Path) -> None:
    changes: Any = {"max_connection_age_ms": 300, "max_connection_age_grace_ms": 200}
    async with connected(tmp_path / "s", **changes) as (_, channel):
        assert await hold_a_call(channel, 3.0) is grpc.StatusCode.UNAVAILABLE
        assert await check(channel) == health_pb2.HealthCheckResponse.SERVING


async def test_connections_beyond_the_limit_wait_outside(tmp_path: Path) -> None:
    async with connected(tmp_path / "s", max_allowed_incoming_connections=1) as (address, channel):
        await check(channel)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(address, options=options) as second:
            with pytest.raises(grpc.aio.AioRpcError):
                await check(second, timeout=0.5)
        await check(channel)


async def test_streams_beyond_the_limit_of_a_connection_wait(tmp_path: Path) -> None:
    async with connected(tmp_path / "s", max_concurrent_streams=1) as (_, channel):
        client = stub(health_pb2_grpc.HealthStub, channel)
        call = client.Watch(health_pb2.HealthCheckRequest())
        await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await check(channel, timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call.cancel()
        assert await check(channel) == health_pb2.HealthCheckResponse.SERVING


async def test_a_port_has_one_owner(tmp_path: Path) -> None:
    async with connected(tmp_path / "s") as (address, _):
        host, port = address.rsplit(":", 1)
        with pytest.raises(ConnectionError, match="cannot listen"):
            LoopbackListener(host=host, port=int(port)).bind(grpc.aio.server(options=SERVER_OPTIONS))


def asked(**options: Any) -> Listener:
    known: dict[str, Any] = {
        "socket_path": None,
        "address": "",
        "insecure_loopback": False,
        "certificate": None,
        "key": None,
        "client_ca": None,
    }
    return listener_for(**{**known, **options})


def test_the_command_line_names_one_safe_way_to_listen(tmp_path: Path) -> None:
    assert isinstance(asked(socket_path=tmp_path / "s"), UnixListener)
    for host in ("127.0.0.1", "[::1]", "localhost"):
        assert isinstance(asked(address=f"{host}:80", insecure_loopback=True), LoopbackListener)
    pem = {"certificate": tmp_path, "key": tmp_path, "client_ca": tmp_path}
    assert isinstance(asked(address="0.0.0.0:80", **pem), TlsListener)
    material = TlsMaterial(key=b"", chain=b"", roots=b"")
    enrolled = asked(address="0.0.0.0:80", enrolled=lambda: material)
    assert isinstance(enrolled, TlsListener)
    assert enrolled.material() is material
    given = asked(address="0.0.0.0:80", enrolled=lambda: material, **pem)
    assert isinstance(given, TlsListener)
    assert isinstance(given.material, WatchedFiles)
    for refused in (
        {},
        {"socket_path": tmp_path, "address": "127.0.0.1:80"},
        {"socket_path": tmp_path, "insecure_loopback": True},
        {"address": "0.0.0.0:80", "insecure_loopback": True},
        {"address": "127.0.0.1.evil.example:80", "insecure_loopback": True},
        {"address": "127.0.0.1:80"},
        {"address": "127.0.0.1:80", "certificate": tmp_path},
        {"address": "127.0.0.1:80", "insecure_loopback": True, "key": tmp_path},
        {"address": "127.0.0.1", "insecure_loopback": True},
        {"address": "127.0.0.1:99999", "insecure_loopback": True},
    ):
        with pytest.raises(InvalidInputError):
            asked(**refused)


async def test_a_socket_path_that_the_system_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at most 107"):
        UnixListener(path=tmp_path / ("x" * 120)).bind(grpc.aio.server())
