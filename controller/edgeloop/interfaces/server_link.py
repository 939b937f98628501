"""The way to a running ``edgeloop serve``: requests over HTTP or HTTPS with a token, errors as on this side."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from edgeloop_foundation import errors as e
from edgeloop_foundation.addresses import is_loopback

__all__ = ["ServerAddress", "ServerLink", "path_word", "server_address"]

_TIMEOUT_S = 60.0
_START = "Is edgeloop serve running there? Without a server: --server ''."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a server is and how to prove oneself to it."""

    scheme: str
    host: str
    port: int
    token: str
    #: Certificates to trust instead of the system's, PEM.
    ca: Path | None = None

    @property
    def url(self) -> str:
        """Its address for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def server_address(url: str, token: str, ca: Path | None = None) -> ServerAddress:
    """Return the address of a server.

    Raises:
        InvalidInputError: it is no such URL, or the token would travel in the clear.
        UnauthenticatedError: there is no token.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise e.InvalidInputError(f"{url[:80]!r} is no address of a server: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise e.InvalidInputError(
            f"a server is written http://HOST:PORT or https://HOST:PORT, found {url[:80]!r}."
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise e.InvalidInputError(
            f"{url} is reached over the network, and the token would travel in the clear.",
            next_step="Use https:// (edgeloop serve --tls), or a tunnel to 127.0.0.1.",
        )
    if not token:
        raise e.UnauthenticatedError(
            f"there is no token for {url}.",
            next_step="Give EDGELOOP_SERVER_TOKEN_FILE, EDGELOOP_SERVER_TOKEN, or server_token_file in edgeloop.toml; "
            "the server's tokens are in the files of serve/ in its home.",
        )
    if not token.isascii() or not token.isprintable():
        raise e.InvalidInputError("the token for the server holds characters that no token has.")
    standard = 443 if parts.scheme == "https" else 80
    return ServerAddress(
        scheme=parts.scheme, host=parts.hostname, port=standard if port is None else port, token=token, ca=ca
    )


class ServerLink:
    """One connection to a server, made when it is needed and again when it broke."""

    def __init__(self, address: ServerAddress) -> None:
        #: Where it leads.
        self.address = address
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection; the next request makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        tree: Any = None,
    ) -> Any:
        """Return the JSON that the server answers with.

        Raises:
            EdgeloopError: as the server said; UnavailableError when it does not answer.
        """
        body = None if tree is None else json.dumps(tree, separators=(",", ":")).encode()
        data = self.ask_bytes(method, path, query=query, body=body)
        try:
            return json.loads(data)
        except ValueError as error:
            raise self._odd("no JSON") from error

    def ask_bytes(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: bytes | None = None
    ) -> bytes:
        """Return the bytes that the server answers with; raises what ``ask`` raises."""
        words = {name: value for name, value in (query or {}).items() if value not in ("", None)}
        target = f"/api/v1/{path}" + (f"?{urlencode(words)}" if words else "")
        headers = {"content-type": "application/json"} if body is not None else {}
        reused = self._connection is not None
        try:
            return self._exchange(method, target, headers, body)
        except (ConnectionError, http.client.RemoteDisconnected):
            # The server closes a connection that rested; every request here can be made twice.
            if not reused or self._connection is not None:
                raise  # it is new, or it stands and the server said so
            return self._exchange(method, target, headers, body)

    def send_file(self, path: str, file: Path, size: int) -> None:
        """Send a file as the body of a PUT; raises what ``ask`` raises."""
        headers = {"content-length": str(size), "content-type": "application/octet-stream"}
        with file.open("rb") as body:
            self._exchange("PUT", f"/api/v1/{path}", headers, body)

    def _exchange(self, method: str, target: str, headers: dict[str, str], body: Any) -> bytes:
        sent = {**headers, "authorization": f"Bearer {self.address.token}", "accept": "application/json"}
        try:
            connection = self._connected()
            try:
                connection.request(method, target, body=body, headers=sent)
            except (BrokenPipeError, ConnectionResetError):
                # It may have refused before it had read everything: the answer says why.
                if body is None or connection.sock is None:
                    raise
            # Closed here: closed by its finaliser, at the next request, it would swallow an interrupt that comes then.
            with connection.getresponse() as answer:
                data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        if answer.will_close:
            self.close()
        if answer.status >= 400:
            raise self._refused(answer.status, data)
        return data

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            where = self.address
            if where.scheme == "https":
                context = ssl.create_default_context(cafile=where.ca)
                self._connection = http.client.HTTPSConnection(
                    where.host, where.port, timeout=_TIMEOUT_S, context=context
                )
            else:
                self._connection = http.client.HTTPConnection(where.host, where.port, timeout=_TIMEOUT_S)
        return self._connection

    def _unreachable(self, error: Exception) -> e.EdgeloopError:
        url = self.address.url
        if isinstance(error, ssl.SSLCertVerificationError):
            return e.UnauthenticatedError(
                f"the certificate of {url} is not trusted: {error.verify_message}.",
                next_step="Name the fleet's roots.pem: server_ca in edgeloop.toml, or EDGELOOP_SERVER_CA.",
            )
        words = (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "") or str(error)
        reason = " ".join((words or type(error).__name__).split()).lower().rstrip(".")
        return e.UnavailableError(f"the server at {url} does not answer: {reason}.", next_step=_START)

    def _refused(self, status: int, data: bytes) -> e.EdgeloopError:
        try:
            told = json.loads(data)["error"]
            kind, message, step = str(told["kind"]), str(told["message"]), str(told.get("next_step", ""))
        except (ValueError, KeyError, TypeError):
            return self._odd(f"status {status}")
        found = getattr(e, kind, None)
        known = isinstance(found, type) and issubclass(found, e.EdgeloopError)
        return (found if known else e.UnavailableError)(message, next_step=step)  # type: ignore[misc]

    def _odd(self, what: str) -> e.EdgeloopError:
        return e.UnavailableError(
            f"{self.address.url} answers with {what}, as no edgeloop serve does.",
            next_step="Check the address.",
        )


def path_word(text: str) -> str:
    """Return a word as a step of a path."""
    return quote(text, safe="")
