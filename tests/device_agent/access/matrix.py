"""A fleet with every kind of caller, and every method called as each of them; methods come from the descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from edgeloop.domain.identity import HolderFiles
from edgeloop.identity.authority import Authority
from edgeloop.identity.x509 import Signing, new_key
from edgeloop.orchestrate.enrol import run_here
from edgeloop.orchestrate.identity import enrol_through
from edgeloop_agent.server import SERVICES
from edgeloop_protocol.types.identity import DAY_S, Identity, Role, SignedTrust
from google.protobuf import descriptor_pool
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

ALLOWED, DENIED, UNKNOWN, NO_CONNECTION = "allowed", "denied", "unauthenticated", "no connection"

OBSERVER_MAY = frozenset(
    {
        "/edgeloop.v1.DeviceService/SayHello",
        "/edgeloop.v1.DeviceService/Describe",
        "/edgeloop.v1.DeviceService/GetVitals",
        "/edgeloop.v1.LeaseService/ListLeases",
        "/edgeloop.v1.JobService/Watch",
        "/edgeloop.v1.JobService/GetJob",
        "/edgeloop.v1.JobService/ListQuarantine",
        "/edgeloop.v1.IdentityService/GetIdentity",
        "/edgeloop.v1.DeploymentService/ListDeployments",
        "/edgeloop.v1.ServingService/ListServing",
        "/edgeloop.v1.TelemetryService/ReadTelemetry",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""Said a second time on purpose: what the agent's own table must amount to."""

REFUSED_AT_THE_DOOR = ("none", "expired", "wrong usage", "rogue CA", "other device")
EVERYTHING = ("controller", "Unix-socket peer")
CALLERS = (
    *REFUSED_AT_THE_DOOR,
    "device as client",
    "observer",
    "controller",
    "Unix-socket peer",
    "revoked, live",
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of a service."""

    path: str
    client_streams: bool
    server_streams: bool


def methods() -> list[Method]:
    """Return every method of every service that the agent registers, from the descriptors."""
    pool = descriptor_pool.Default()
    return [
        Method(
            path=f"/{name}/{method.name}",
            client_streams=method.client_streaming,
            server_streams=method.server_streaming,
        )
        for name in (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        for method in pool.FindServiceByName(name).methods
    ]


def expected(caller: str, method: Method) -> str:
    """Return what must happen."""
    if caller in REFUSED_AT_THE_DOOR:
        return NO_CONNECTION
    if caller in EVERYTHING:
        return ALLOWED
    if caller == "observer":
        return ALLOWED if method.path in OBSERVER_MAY else DENIED
    return DENIED if caller == "device as client" else UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, PEM."""

    chain: bytes
    key: bytes


class FleetKit:
    """An authority, a device that is enrolled by it, and whatever certificate a caller may show."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = Authority.create(root / "authority", "lab")
        self.device = Identity(fleet="lab", role=Role.DEVICE, name="bench")
        self.state = root / "state"

    def enrol(self, agent: Iterable[str]) -> None:
        """Enrol the device, its key made by the agent's own program."""
        enrol_through(run_here, self.authority, self.device, str(self.state), tuple(agent))

    @property
    def roots(self) -> bytes:
        return "".join(r.certificate for r in self.authority.ledger().roots if r.trusted).encode()

    def holder(self, role: Role, name: str) -> Pair:
        """Return what the authority issues to a controller or an observer."""
        files = HolderFiles(directory=self.root / f"{role.value}-{name}")
        self.authority.issue_holder(Identity(fleet="lab", role=role, name=name), files)
        both = files.identity.read_bytes()
        return Pair(chain=both, key=both)

    def odd(
        self,
        role: Role = Role.CONTROLLER,
        *,
        signing: Signing | None = None,
        serves: bool = False,
        age_days: float = 0.0,
        uris: tuple[str, ...] | None = None,
    ) -> Pair:
        """Return a certificate that the authority would not issue."""
        signing = signing or self.authority.signing()
        uri = Identity(fleet="lab", role=role, name="odd").uri
        names = [x509.UniformResourceIdentifier(text) for text in (uris if uris is not None else (uri,))]
        key, pem = new_key()
        now_s = time.time() - age_days * DAY_S
        general = x509.SubjectAlternativeName([*names, x509.DNSName("odd.test")])
        chain = signing._leaf(general, key.public_key(), (now_s, now_s + 30 * DAY_S), serves=serves)
        return Pair(chain=chain.encode(), key=pem)

    def rogue(self) -> Signing:
        """Return an authority of the same name that is another one."""
        return Signing.create("lab", 1, new_key()[0], time.time())

    def pairs(self) -> Mapping[str, Pair | None]:
        """Return what each caller over TLS shows."""
        return {
            "none": None,
            "expired": self.odd(age_days=40),
            "wrong usage": self.odd(serves=True),
            "rogue CA": self.odd(signing=self.rogue()),
            "other device": self.odd(Role.DEVICE, serves=True),
            "device as client": self.odd(Role.DEVICE),
            "observer": self.holder(Role.OBSERVER, "eve"),
            "controller": self.holder(Role.CONTROLLER, "desk"),
            "revoked, live": self.holder(Role.CONTROLLER, "lost"),
        }

    def channel(self, address: str, pair: Pair | None) -> grpc.aio.Channel:
        """Return a channel of its own that verifies the device by its name."""
        credentials = grpc.ssl_channel_credentials(
            self.roots, pair.key if pair else None, pair.chain if pair else None
        )
        options = (
            ("grpc.ssl_target_name_override", self.device.server_name),
            ("grpc.use_local_subchannel_pool", 1),
        )
        return grpc.aio.secure_channel(address, credentials, options)

    def revoke(self, name: str) -> SignedTrust:
        """Revoke a controller."""
        return self.authority.revoke(Identity(fleet="lab", role=Role.CONTROLLER, name=name).uri)


_OUTCOMES = {
    grpc.StatusCode.PERMISSION_DENIED: DENIED,
    grpc.StatusCode.UNAUTHENTICATED: UNKNOWN,
    grpc.StatusCode.UNAVAILABLE: NO_CONNECTION,
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer",
}


async def outcome(channel: grpc.aio.Channel, method: Method, timeout_s: float = 20.0) -> str:
    """Call a method with an empty message and return what its guard did; an error of the method itself is allowed."""
    code = await _code(channel, method, timeout_s)
    return ALLOWED if code is None else _OUTCOMES.get(code, ALLOWED)


async def _code(channel: grpc.aio.Channel, method: Method, timeout_s: float) -> grpc.StatusCode | None:
    """Return how a call ended; None when it answers and goes on."""
    kind = ("stream" if method.client_streams else "unary") + (
        "_stream" if method.server_streams else "_unary"
    )
    make: Any = getattr(channel, kind)(method.path)
    call = make(timeout=timeout_s) if method.client_streams else make(b"", timeout=timeout_s)
    # The library says in several ways that a call has ended; its code is the one that counts.
    with contextlib.suppress(Exception):
        if method.client_streams:
            await call.done_writing()
        if method.server_streams and await call.read() is not grpc.aio.EOF:
            call.cancel()
            return None
    code: grpc.StatusCode = await call.code()
    assert await call.details() != "Method not found!", f"nobody serves {method.path}"
    return code


async def column(channel: grpc.aio.Channel, at_once: int) -> dict[str, str]:
    """Return path -> outcome of every method, called as whoever the channel is."""
    known = methods()
    room = asyncio.Semaphore(at_once)

    async def one(method: Method) -> str:
        async with room:
            return await outcome(channel, method)

    outcomes = await asyncio.gather(*(one(method) for method in known))
    return {method.path: found for method, found in zip(known, outcomes, strict=True)}


async def update_trust(channel: grpc.aio.Channel, trust: SignedTrust) -> None:
    """Hand a trust list to the agent."""
    from edgeloop_protocol.convert import to_wire
    from edgeloop_protocol.v1 import identity_pb2, identity_pb2_grpc

    request = identity_pb2.UpdateTrustRequest()
    to_wire(trust, request.trust)
    stub: Any = identity_pb2_grpc.IdentityServiceStub(channel)  # type: ignore[no-untyped-call]
    await stub.UpdateTrust(request)


async def whole_matrix(
    kit: FleetKit, tls_address: str, socket_address: str, at_once: int = 4
) -> dict[str, dict[str, str]]:
    """Return caller -> path -> outcome; the revoked one connects and calls before it is revoked."""
    found = {}
    pairs = kit.pairs()
    for caller, pair in pairs.items():
        if caller == "revoked, live":
            continue
        async with kit.channel(tls_address, pair) as channel:
            found[caller] = await column(channel, at_once)
    async with grpc.aio.insecure_channel(socket_address) as channel:
        found["Unix-socket peer"] = await column(channel, at_once)
    async with (
        kit.channel(tls_address, pairs["controller"]) as controller,
        kit.channel(tls_address, pairs["revoked, live"]) as live,
    ):
        check = Method(path="/grpc.health.v1.Health/Check", client_streams=False, server_streams=False)
        assert await outcome(live, check) == ALLOWED
        await update_trust(controller, kit.revoke("lost"))
        found["revoked, live"] = await column(live, at_once)
    return {caller: found[caller] for caller in CALLERS}
