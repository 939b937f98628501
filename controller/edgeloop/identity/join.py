"""Where a device with a join token asks for its certificate: two requests over TLS, then it closes.

``GET /authority``  the authority's certificate; the device compares its public key with the token before all else
``POST /join``      token and request for a certificate; answers with the certificate and the trust list
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import (
    DeadlineError,
    EdgeloopError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from edgeloop_protocol.convert.json import to_canonical_json
from edgeloop_protocol.types.identity import JOIN_SERVER_NAME, Enrolment, Identity

from edgeloop.identity import x509
from edgeloop.identity.authority import Authority
from edgeloop.identity.tokens import TOKEN_LIFE_S, JoinTokens

__all__ = ["JoinListener"]

_BODY_BYTES_MAX = 32 * 1024
_TALK_S = 10.0
_REFUSED, _UNKNOWN, _WRONG = 403, 404, 400


class JoinListener:
    """Waits for one device; use as a context manager."""

    def __init__(self, authority: Authority, tokens: JoinTokens, host: str, port: int) -> None:
        """Listen.

        Raises:
            UnavailableError: the address cannot be used.
        """
        self._authority = authority
        self._tokens = tokens
        self._done = threading.Event()
        self._one = threading.Lock()
        #: Who joined; None until somebody did.
        self.joined: Identity | None = None
        try:
            self._server = _Server((host, port), _handler_of(self))
        except (OSError, OverflowError) as error:
            raise UnavailableError(f"cannot listen on {host}:{port}: {error}.") from error
        self._server.socket = self._context().wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> JoinListener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self, timeout_s: float = TOKEN_LIFE_S) -> Identity:
        """Wait until a device has joined and return who.

        Raises:
            DeadlineError: nobody did in time.
        """
        if not self._done.wait(timeout_s) or self.joined is None:
            raise DeadlineError(
                f"no device joined within {timeout_s / 60:.0f} minutes; the token is void.",
                next_step="Try again, and see that the device reaches this address.",
            )
        return self.joined

    def _context(self) -> ssl.SSLContext:
        signing = self._authority.signing()
        key, pem = x509.new_key()
        chain = signing.issue_server((JOIN_SERVER_NAME,), key.public_key(), time.time(), 2 * TOKEN_LIFE_S)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.TemporaryDirectory(prefix="edgeloop-join-") as directory:
            file = Path(directory) / "identity.pem"
            file.touch(0o600)
            file.write_bytes(pem + chain.encode())
            context.load_cert_chain(file)
        return context

    def root(self) -> bytes:
        """Return the certificate of the root that signs."""
        return self._authority.signing().certificate_pem.encode()

    def join(self, body: bytes) -> Enrolment:
        """Sign the request of the holder of a token; the token is void before anything is signed.

        Raises:
            UnauthenticatedError: the token is not good.
            InvalidInputError: the request is not for the token's device.
        """
        try:
            asked = json.loads(body)
            token_id, secret, request_pem = (
                str(asked[name]) for name in ("token_id", "secret", "request_pem")
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError("this is no request to join.") from error
        with self._one:
            identity = self._tokens.check(token_id, secret)
            x509.check_request(request_pem, identity)
            self._tokens.use(token_id)
            enrolment = self._authority.sign(request_pem, identity)
            self.joined = identity
        return enrolment

    def finish(self) -> None:
        """Let ``wait`` return; the answer is on its way."""
        if self.joined is not None:
            self._done.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: strangers who break off are not worth a line."""


def _handler_of(listener: JoinListener) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TALK_S
        server_version, sys_version = "edgeloop", ""

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing: what strangers send has no place on a terminal."""

        def do_GET(self) -> None:
            known = self.path == "/authority"
            self._reply(200 if known else _UNKNOWN, listener.root() if known else b"")

        def do_POST(self) -> None:
            try:
                enrolment = listener.join(self._body())
            except UnauthenticatedError as error:
                self._reply(_REFUSED, str(error).encode())
            except EdgeloopError as error:
                self._reply(_WRONG, str(error).encode())
            else:
                self._reply(200, to_canonical_json(enrolment))
                listener.finish()

        def _body(self) -> bytes:
            length = self.headers.get("Content-Length", "")
            if self.path != "/join" or not length.isascii() or not length.isdecimal():
                raise InvalidInputError("this is no request to join.")
            if int(length) > _BODY_BYTES_MAX:
                raise InvalidInputError(f"a request to join has at most {_BODY_BYTES_MAX} bytes.")
            return self.rfile.read(int(length))

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

    return Handler
