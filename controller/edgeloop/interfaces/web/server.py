"""Serves the front until a signal ends it: one process, its own listener, TLS where it is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from edgeloop_foundation.addresses import is_loopback
from edgeloop_foundation.errors import BusyError, EdgeloopError, InvalidInputError
from edgeloop_protocol.certificate import read_certificate
from edgeloop_protocol.types.identity import Identity
from edgeloop_protocol.types.identity import Role as FleetRole
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgeloop.interfaces.web.access import PEER, Access, Caller, Role
from edgeloop.interfaces.web.build import build
from edgeloop.orchestrate.daemon import Daemon
from edgeloop.orchestrate.front_identity import FrontIdentity
from edgeloop.store.serve_home import Tokens

__all__ = ["Listening", "listen", "serve"]

_log = logging.getLogger(__name__)

_DRAIN_S = 5
_AT_ONCE = 512
"""Connections and requests beyond these are refused at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """An address that is listened on already."""

    socket: socket.socket
    host: str
    port: int

    def url(self, *, secure: bool, name: str = "") -> str:
        """Return where a browser finds it."""
        host = name or ("127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host)  # noqa: S104 - compared only
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if secure else 'http'}://{shown}:{self.port}"


def listen(address: str) -> Listening:
    """Listen on HOST:PORT; port 0 lets the system choose.

    Raises:
        InvalidInputError: it is no such address.
        BusyError: it is taken, or this user may not have it.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise InvalidInputError(f"an address is written HOST:PORT, found {address[:80]!r}.")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, int(port)), family=family, backlog=128)
    except OSError as error:
        raise BusyError(
            f"{address} cannot be listened on: {_reason(error)}.",
            next_step="Name another with --listen.",
        ) from error
    return Listening(socket=made, host=host, port=int(made.getsockname()[1]))


def _reason(error: OSError) -> str:
    # Only the system's own words: the library repeats the address.
    return (
        os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error.strerror or error)
    )


class _Server(uvicorn.Server):
    """Leaves signals to ``serve``, which ends the daemon first, and says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _knowing_peers(identity: FrontIdentity) -> type[H11Protocol]:
    """Return a protocol that puts the caller of a client's certificate into the scope of its requests."""

    class Knowing(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            tls = transport.get_extra_info("ssl_object")
            der = tls.getpeercert(binary_form=True) if tls is not None else None
            if der:
                inner = self.app

                async def app(scope: Any, receive: Any, send: Any) -> None:
                    # At each request: a key that was revoked meanwhile is refused on a connection that stands.
                    await inner({**scope, PEER: _caller_of(der, identity)}, receive, send)

                self.app = app

    return Knowing


def _caller_of(der: bytes, identity: FrontIdentity) -> Caller | None:
    try:
        found = read_certificate(der)
        who = Identity.parse("".join(found.uris))
    except InvalidInputError:
        return None
    if identity.refuses(found.public_key):
        return None
    roles = {FleetRole.CONTROLLER: Role.OPERATOR, FleetRole.OBSERVER: Role.OBSERVER}
    role = roles.get(who.role)
    return Caller(role=role, name=who.uri, ambient=True) if role else None


def _context(certificate: Path, key: Path, roots: Path | None) -> Callable[[Any, Any], ssl.SSLContext]:
    def make(_config: Any, _default: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        if roots is not None:
            # A token does as well, so that a browser without a certificate comes in.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(roots)
        return context

    return make


async def serve(
    daemon: Daemon,
    listening: Listening,
    tokens: Tokens,
    *,
    hosts: tuple[str, ...],
    certificate: Path | None = None,
    key: Path | None = None,
    identity: FrontIdentity | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run a daemon and its front until SIGTERM or SIGINT; requests that are under way get some seconds.

    Args:
        daemon: what is served.
        listening: where.
        tokens: what callers prove themselves with.
        hosts: further names under which callers may ask.
        certificate: chain of the listener, PEM; without it there is no TLS.
        key: its key, PEM.
        identity: the fleet's, whose certificates count as proof.
        ready: called once requests are answered.
    """
    secure = certificate is not None and key is not None
    own = (
        listening.host,
        *hosts,
        *(("localhost", "127.0.0.1", "::1") if is_loopback(listening.host) else ()),
    )
    access = Access(tokens, own, secure=secure)
    settings: dict[str, Any] = {}
    if certificate is not None and key is not None:
        settings["ssl_context_factory"] = _context(certificate, key, identity.roots if identity else None)
    if identity is not None:
        settings["http"] = _knowing_peers(identity)
    else:
        settings["http"] = H11Protocol
    config = uvicorn.Config(
        build(daemon, access),
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_S,
        limit_concurrency=_AT_ONCE,
        **settings,
    )
    await _until_stopped(_Server(config, ready), daemon, listening)


async def _until_stopped(server: uvicorn.Server, daemon: Daemon, listening: Listening) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watching = asyncio.create_task(daemon.run(stopping))
    serving = asyncio.create_task(server.serve(sockets=[listening.socket]))
    try:
        ended = asyncio.create_task(stopping.wait())
        await asyncio.wait((watching, serving, ended), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.set()
        # The daemon first: whoever waits for a change is answered then, and the server has nobody left to wait for.
        results = await asyncio.gather(watching, return_exceptions=True)
        server.should_exit = True
        await serving
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    if isinstance(results[0], EdgeloopError | OSError):
        raise results[0]
    if isinstance(results[0], BaseException):
        _log.error("the daemon ended by a fault", exc_info=results[0])
        raise results[0]
