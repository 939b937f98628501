"""The Open Inference Protocol over HTTP, and /metrics: the standard library's server, a thread per connection."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from edgeloop_foundation import errors as e
from edgeloop_foundation.addresses import is_loopback

from edgeloop_agent import __version__
from edgeloop_agent.access.peer import LOOPBACK, Peer, holder_of
from edgeloop_agent.listen import split_address
from edgeloop_agent.serving.admission import Admission
from edgeloop_agent.serving.engine import Engine
from edgeloop_agent.serving.rest_codec import decode, encode, metadata_of

__all__ = ["HttpListener"]

_CONNECTIONS_MAX = 64
_IDLE_S = 60.0
_HANDSHAKE_S = 2.0
# A body that comes slower than this holds a thread for nothing.
_BODY_S = 30.0
_CHUNK_BYTES = 1 << 16
_LINGER_S = 2.0
_LINGER_BYTES_MAX = 256 << 20
_TEXT_MAX = 2000

_STATUS: tuple[tuple[type[e.EdgeloopError], int], ...] = (
    (e.InvalidInputError, 400),
    (e.UnauthenticatedError, 401),
    (e.AccessDeniedError, 403),
    (e.NotFoundError, 404),
    (e.BusyError, 429),
    (e.UnavailableError, 503),
)

_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")

_log = logging.getLogger(__name__)


class _TooLargeError(e.InvalidInputError):
    """The body is longer than the listener takes."""


def _status_of(error: e.EdgeloopError) -> int:
    if isinstance(error, _TooLargeError):
        return 413
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "edgeloop"
    sys_version = ""
    timeout = _IDLE_S
    _unread_bytes: int = 0
    disable_nagle_algorithm = True
    # Head and body leave in one write.
    wbufsize = 1 << 16

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log for what matters."""
        _log.debug(format, *args)

    def do_GET(self) -> None:
        """Answer what looks."""
        # A body here is nobody's, and must not be taken for the next request.
        self.close_connection = self.close_connection or self.headers.get("Content-Length", "0") != "0"
        self._unread_bytes = 0
        self._guarded(self._look)

    def do_POST(self) -> None:
        """Answer an inference."""
        length = self.headers.get("Content-Length", "")
        # How much of the body is still on its way; a request without a length is closed after.
        self._unread_bytes = int(length) if length.isascii() and length.isdecimal() else 1
        self._guarded(self._infer)

    def _guarded(self, work: Any) -> None:
        try:
            self._check_host()
            work()
        except Exception as error:
            # Some of our own errors are an OSError too; one that is not ours means that the client is gone.
            if isinstance(error, (OSError, EOFError)) and not isinstance(error, e.EdgeloopError):
                self.close_connection = True
                return
            known = error if isinstance(error, e.EdgeloopError) else e.InternalError("the server failed.")
            if known is not error:
                _log.error("a request failed", exc_info=error)
            # What is left of its body must not be taken for the next request.
            self.close_connection = self.close_connection or self._unread_bytes > 0
            self._json(_status_of(known), {"error": str(known)[:_TEXT_MAX]})
            self._let_finish()

    def _let_finish(self) -> None:
        """Read on for a moment: closed with bytes unread, the connection would be reset and the answer lost."""
        ends_s, left = time.monotonic() + _LINGER_S, min(self._unread_bytes, _LINGER_BYTES_MAX)
        try:
            self.wfile.flush()
            self.connection.settimeout(_LINGER_S)
            while left > 0 and time.monotonic() < ends_s and (chunk := self._read_some(left)):
                left -= len(chunk)
        except OSError:
            self.close_connection = True
        finally:
            self.connection.settimeout(self.timeout)

    def _check_host(self) -> None:
        """Refuse a page of the web that reaches loopback through a browser on this machine."""
        if not self.server.plain:
            return
        host, _, _ = self.headers.get("Host", "").rpartition(":")
        host = (host or self.headers.get("Host", "")).removeprefix("[").removesuffix("]")
        if self.headers.get("Origin") is not None or (host and not is_loopback(host)):
            raise e.AccessDeniedError("only programs on this machine may ask, not pages of the web.")

    def _admit(self, method: str) -> None:
        self.server.admission.check(method, self.server.peer_of(self.connection))

    def _look(self) -> None:
        path, engine = self.path.partition("?")[0], self.server.engine
        if path == "/metrics":
            self._admit("Metrics")
            self._body(200, engine.scrape(), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/v2":
            self._admit("ServerMetadata")
            told = {"name": "edgeloop", "version": __version__, "extensions": ["binary_tensor_data"]}
            self._json(200, told)
        elif path == "/v2/health/live":
            self._admit("ServerLive")
            self._json(200, {"live": True})
        elif path == "/v2/health/ready":
            self._admit("ServerReady")
            self._json(200 if engine.ready else 503, {"ready": engine.ready})
        elif (match := _MODEL.fullmatch(path)) and match[3] != "/infer":
            self._look_at(unquote(match[1]), unquote(match[2] or ""), ready=match[3] == "/ready")
        else:
            self._admit("ServerMetadata")
            raise e.NotFoundError(f"there is nothing at {path[:200]!r}.")

    def _look_at(self, name: str, version: str, *, ready: bool) -> None:
        self._admit("ModelReady" if ready else "ModelMetadata")
        model = self.server.engine.model(name, version)
        self._json(200, {"name": name, "ready": True} if ready else metadata_of(name, model))

    def _infer(self) -> None:
        engine = self.server.engine
        match = _MODEL.fullmatch(self.path.partition("?")[0])
        self._admit("ModelInfer")
        if match is None or match[3] != "/infer":
            raise e.NotFoundError(f"nothing takes a POST at {self.path[:200]!r}.")
        with engine.counted("http") as counted:
            body = self._read_body()
            model = engine.model(unquote(match[1]), unquote(match[2] or ""))
            length = self.headers.get("Inference-Header-Content-Length")
            request = decode(model, body, None if length is None else _whole(length))
            answer = engine.infer(model, request.feeds, request.wanted, lambda: True)
            encoded, json_bytes = encode(engine.spec.name, request, answer)
            counted.answer = answer
        head = {} if json_bytes is None else {"Inference-Header-Content-Length": str(json_bytes)}
        kind = "application/json" if json_bytes is None else "application/octet-stream"
        engine.settle()
        self._body(200, encoded, kind, head)

    def _read_body(self) -> bytes:
        """Read what the head announces.

        Raises:
            InvalidInputError: it has no length, is compressed, or is longer than the listener takes.
            EOFError: it ended before, or came too slowly.
        """
        if self.headers.get("Content-Encoding", "identity") != "identity":
            raise e.InvalidInputError("compressed requests are not taken.")
        length = _whole(self.headers.get("Content-Length", ""))
        if length > self.server.engine.spec.message_bytes_max:
            raise _TooLargeError(
                f"the request has {length} bytes, at most {self.server.engine.spec.message_bytes_max} are taken."
            )
        body, ends_s = bytearray(), time.monotonic() + _BODY_S
        while len(body) < length:
            chunk = self._read_some(length - len(body))
            if not chunk or time.monotonic() > ends_s:
                raise EOFError
            body += chunk
            self._unread_bytes -= len(chunk)
        return bytes(body)

    def _read_some(self, count_max: int) -> bytes:
        chunk: bytes = self.rfile.read1(min(count_max, _CHUNK_BYTES))
        return chunk

    def _json(self, status: int, value: Any) -> None:
        self._body(status, json.dumps(value).encode(), "application/json")

    def _body(self, status: int, body: bytes, kind: str, head: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (head or {}).items():
            self.send_header(name, value)
        if self.close_connection or self.server.ends:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise e.InvalidInputError(f"a length is a whole number, not {text[:40]!r}.")
    return int(text)


class _Server(ThreadingHTTPServer):
    """Bounded connections; TLS is shaken hands on in the connection's own thread."""

    daemon_threads = True
    # Two processes on one port would share its connections at random.
    allow_reuse_port = False

    def __init__(
        self, address: tuple[str, int], engine: Engine, admission: Admission, *, plain: bool
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.engine, self.admission, self.plain = engine, admission, plain
        #: Whether connections are let go after their next answer.
        self.ends = False
        self._places = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            if not self.plain:
                request.settimeout(_HANDSHAKE_S)
                request = self._context().wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except (OSError, e.EdgeloopError) as error:
            _log.info("a connection was refused: %s", error)
            self.shutdown_request(request)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line what the library would print as a trace."""
        _log.warning("a connection broke off", exc_info=_log.isEnabledFor(logging.DEBUG))

    def _context(self) -> ssl.SSLContext:
        """Return the terms of a handshake, from the files as they are now: a renewal needs no restart."""
        material = self.admission.material()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.admission.identity_file)
        context.load_verify_locations(cadata=material.roots.decode())
        return context

    def peer_of(self, connection: Any) -> Peer:
        """Return who is at the other end."""
        if self.plain:
            return LOOPBACK
        der = connection.getpeercert(binary_form=True)
        return holder_of(ssl.DER_cert_to_PEM_cert(der).encode())


class HttpListener:
    """An HTTP server of its own for one deployment."""

    def __init__(self, engine: Engine, admission: Admission, address: str, *, plain: bool) -> None:
        host, port = split_address(address)
        try:
            self._server = _Server((host, port), engine, admission, plain=plain)
        except OSError as error:
            raise e.UnavailableError(
                f"cannot listen on {address}: {error}.",
                next_step="Is it taken, or not an address of this machine?",
            ) from error
        bound = self._server.server_address[1]
        self.address = f"[{host}]:{bound}" if _is_v6(host) else f"{host}:{bound}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections; those that are open end with their next answer."""
        self._server.ends = True
        self._server.shutdown()
        self._server.server_close()


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
