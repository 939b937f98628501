"""Joining a fleet over the network with a token: the authority is checked before anything is sent."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from dataclasses import dataclass, field

from cryptography import x509
from edgeloop_foundation.errors import InvalidInputError, UnauthenticatedError, UnavailableError
from edgeloop_protocol.convert.json import from_json
from edgeloop_protocol.types.identity import JOIN_SERVER_NAME, Enrolment, Identity, Role

from edgeloop_agent.enrol.steps import Steps
from edgeloop_agent.enrol.verify import public_key_digest

__all__ = ["JoinToken", "join"]

_TALK_S = 15.0
_ROOT_BYTES_MAX = 64 * 1024
_ANSWER_BYTES_MAX = 4 << 20
_TOKEN = re.compile(r"ej1\.([a-z0-9-]+)\.([a-z0-9-]+)\.([0-9a-f]{64})\.([0-9a-f]{16})\.([0-9a-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What a join token says: ``ej1.FLEET.NAME.AUTHORITY.ID.SECRET``."""

    #: Who the device is to be.
    identity: Identity
    #: SHA-256 of the public key of the fleet's authority, in hexadecimal.
    authority: str
    #: Its public part.
    token_id: str
    #: Its secret part.
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Read a token; an error does not repeat it.

        Raises:
            InvalidInputError: it is none.
        """
        found = _TOKEN.fullmatch(text)
        if found is None:
            raise InvalidInputError(
                "this is no join token.", next_step="Copy the whole line that begins with ej1."
            )
        fleet, name, authority, token_id, secret = found.groups()
        identity = Identity(fleet=fleet, role=Role.DEVICE, name=name)
        return cls(identity=identity, authority=authority, token_id=token_id, secret=secret)


def join(steps: Steps, controller: str, text: str) -> Identity:
    """Enrol this device with the controller that gave out a token.

    Raises:
        InvalidInputError: the token or the address cannot be read.
        UnavailableError: nobody answers there.
        UnauthenticatedError: who answers is not the authority of the token, or does not take it.
    """
    token = JoinToken.parse(text)
    host, _, port = controller.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise InvalidInputError(f"{controller[:200]!r} is not of the form HOST:PORT.")
    address = (host.removeprefix("[").removesuffix("]"), int(port))
    root = _authority(address, token)
    request = steps.request(token.identity)
    body = {"token_id": token.token_id, "secret": token.secret, "request_pem": request}
    status, answer = _exchange(
        address, _trusting(root), "POST", "/join", json.dumps(body).encode(), _ANSWER_BYTES_MAX
    )
    if status != http.client.OK:
        reason = "".join(c for c in answer[:500].decode("utf-8", "replace") if c.isprintable())
        raise UnauthenticatedError(f"the controller refuses to enrol this device: {reason}")
    steps.enrol(token.identity, from_json(answer, Enrolment), anchors=(root,))
    return token.identity


def _authority(address: tuple[str, int], token: JoinToken) -> str:
    """Fetch the authority's certificate without trust and hold it against the token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, answer = _exchange(address, context, "GET", "/authority", b"", _ROOT_BYTES_MAX)
    try:
        certificate = x509.load_pem_x509_certificate(answer)
        digest = public_key_digest(certificate)
    except ValueError as error:
        raise UnauthenticatedError("who answers there shows no authority; nothing was sent.") from error
    if digest != token.authority:
        raise UnauthenticatedError(
            "who answers there is not the authority of the token; nothing was sent.",
            next_step="See whether the address is the controller's, and whether somebody is in between.",
        )
    return answer.decode("ascii")


def _trusting(root: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=root)
    return context


class _Connection(http.client.HTTPSConnection):
    """Names the listener by its role, not by its address."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(*address, timeout=_TALK_S, context=context)
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=JOIN_SERVER_NAME)


def _exchange(
    address: tuple[str, int], context: ssl.SSLContext, method: str, path: str, body: bytes, limit: int
) -> tuple[int, bytes]:
    connection = _Connection(address, context)
    try:
        connection.request(method, path, body or None)
        response = connection.getresponse()
        answer = response.read(limit + 1)
    except ssl.SSLCertVerificationError as error:
        raise UnauthenticatedError(
            f"who answers there does not hold the authority's key ({error.verify_message}); nothing was sent.",
            next_step="See whether somebody is in between, and whether this device's clock is right.",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"the controller at {address[0]}:{address[1]} does not answer: {error or type(error).__name__}.",
            next_step="See whether edgeloop device enrol still waits there.",
        ) from error
    finally:
        connection.close()
    if len(answer) > limit:
        raise UnauthenticatedError(f"who answers there sends more than {limit} bytes.")
    return response.status, answer
