"""Byte streams between machines: connect, listen, nothing else.

An address is ``unix:PATH`` or ``HOST:PORT``; port 0 lets the system choose one when listening.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from edgeloop_foundation.errors import InvalidInputError, UnavailableError

__all__ = ["Acceptor", "ByteStream", "Network", "SystemNetwork", "split_address"]


class ByteStream(Protocol):
    """One connection, in both directions."""

    async def read(self, limit: int) -> bytes:
        """Return 1 to ``limit`` bytes as they come; nothing once the other side has closed.

        Raises:
            ConnectionError: the connection broke.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            ConnectionError: the connection broke or is closed.
        """
        ...

    async def close(self) -> None:
        """Close it; the other side reads what was sent, then the end. Closing twice is no error."""
        ...


class Acceptor(Protocol):
    """Waits for connections."""

    @property
    def address(self) -> str:
        """Address that others connect to."""
        ...

    async def accept(self) -> ByteStream:
        """Wait for the next connection.

        Raises:
            ConnectionError: it no longer listens.
        """
        ...

    async def close(self) -> None:
        """Listen no longer; accepted connections live on. Closing twice is no error."""
        ...


class Network(Protocol):
    """Makes connections."""

    async def connect(self, address: str) -> ByteStream:
        """Open a connection.

        Raises:
            InvalidInputError: no such form of address.
            UnavailableError: nobody listens there, or it cannot be reached.
        """
        ...

    async def listen(self, address: str) -> Acceptor:
        """Begin to listen.

        Raises:
            InvalidInputError: no such form of address.
            UnavailableError: the address is taken or is not ours.
        """
        ...


def split_address(address: str) -> tuple[str, int | None]:
    """Return (path, None) of ``unix:PATH`` or (host, port) of ``HOST:PORT``; an IPv6 host stands in brackets.

    Raises:
        InvalidInputError: neither of them.
    """
    if address.startswith("unix:") and len(address) > 5:
        return address[5:], None
    host, _, port = address.rpartition(":")
    if host and port.isascii() and port.isdigit() and int(port) < 65536:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise InvalidInputError(f"unknown address {address!r}.", next_step="Use unix:PATH or HOST:PORT.")


class _SystemStream:
    """A socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int) -> bytes:
        return await self._reader.read(limit)

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class _SystemAcceptor:
    """A listening socket."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[_SystemStream | None] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._address = ""

    async def open(self, address: str) -> None:
        host, port = split_address(address)
        if port is None:
            self._server = await asyncio.start_unix_server(self._arrived, host)
            self._address = address
            return
        self._server = await asyncio.start_server(self._arrived, host, port)
        name = self._server.sockets[0].getsockname()
        self._address = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._queue.put(_SystemStream(reader, writer))

    @property
    def address(self) -> str:
        return self._address

    async def accept(self) -> ByteStream:
        stream = await self._queue.get()
        if stream is None:
            self._queue.put_nowait(None)
            raise ConnectionAbortedError(f"{self._address} no longer listens")
        return stream

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server = None
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if waiting is not None:
                await waiting.close()
        self._queue.put_nowait(None)


class SystemNetwork:
    """The sockets of this machine."""

    async def connect(self, address: str) -> ByteStream:
        """Open a Unix or TCP connection."""
        host, port = split_address(address)
        try:
            if port is None:
                return _SystemStream(*await asyncio.open_unix_connection(host))
            return _SystemStream(*await asyncio.open_connection(host, port))
        except OSError as error:
            raise UnavailableError(f"{address} cannot be reached: {error.strerror or error}.") from error

    async def listen(self, address: str) -> Acceptor:
        """Listen on a Unix or TCP socket."""
        acceptor = _SystemAcceptor()
        try:
            await acceptor.open(address)
        except OSError as error:
            raise UnavailableError(f"cannot listen on {address}: {error.strerror or error}.") from error
        return acceptor
