"""Who makes a call, from what the transport proved.

On a Unix socket the kernel has checked, at ``connect``, that the caller may write to the socket file: its mode is
0600 from its first moment on, in a directory where nobody else can replace it, so the caller has the agent's user id
or is root. (The server library keeps the descriptor to itself, so SO_PEERCRED cannot be asked a second time.)

Under TLS the certificate was verified in the handshake. grpcio hands it to every call; its one URI is the identity,
and the SHA-256 of its public key is what revocation goes by.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.certificate import read_certificate
from edgeloop_protocol.types.identity import Identity, Role

from edgeloop_agent.access.methods import Caller

__all__ = ["LOOPBACK", "Context", "Peer", "holder_of", "peer_of"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CALLERS = {
    Role.OBSERVER: Caller.OBSERVER,
    Role.CONTROLLER: Caller.CONTROLLER,
    Role.DEVICE: Caller.DEVICE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of a call."""

    #: What it is to us.
    caller: Caller
    #: Its identity, or where it calls from; for messages.
    name: str
    #: SHA-256 of its public key; empty when it showed none.
    public_key: str = ""
    #: Fleet that its certificate names; empty when none.
    fleet: str = ""


LOOPBACK = Peer(caller=Caller.LOCAL, name="somebody on this machine")
"""Whoever calls over plain TCP on loopback, where that is trusted."""


def peer_of(context: Context | grpc.ServicerContext, *, trusts_loopback: bool) -> Peer:
    """Return who makes a call.

    Args:
        context: of the call.
        trusts_loopback: whether the agent was told to take plain TCP on loopback for its owner.
    """
    proved: dict[str, Any] = dict(context.auth_context() or {})
    address = context.peer()
    if b"ssl" in proved.get("transport_security_type", ()):
        pem = next(iter(proved.get("x509_pem_cert", ())), b"")
        return holder_of(bytes(pem))
    if address.startswith("unix:"):
        return Peer(caller=Caller.LOCAL, name="the owner of the socket")
    if trusts_loopback:
        return LOOPBACK
    return Peer(caller=Caller.NOBODY, name="a caller without a certificate")


# A handful of controllers talk to a board, with every call the same certificate.
@functools.lru_cache(maxsize=32)
def holder_of(pem: bytes) -> Peer:
    """Return who holds a certificate that the handshake has verified."""
    try:
        fields = read_certificate(pem.decode("ascii"))
    except (InvalidInputError, UnicodeDecodeError):
        return Peer(caller=Caller.NOBODY, name="a caller without a certificate")
    nobody = Peer(caller=Caller.NOBODY, name="a certificate that names no role", public_key=fields.public_key)
    if len(fields.uris) != 1:
        return nobody
    try:
        identity = Identity.parse(fields.uris[0])
    except InvalidInputError:
        return nobody
    return Peer(
        caller=_CALLERS[identity.role],
        name=identity.uri,
        public_key=fields.public_key,
        fleet=identity.fleet,
    )
