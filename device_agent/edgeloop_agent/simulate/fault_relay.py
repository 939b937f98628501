"""The wire of a simulated board with faults: a socket in front of its agent that can break, wait and corrupt.

It speaks no gRPC. Of HTTP/2 it knows where frames begin (RFC 9113, section 4.1), so that a flipped byte lands in
the data of a message, as on a link without a checksum of its own, and not in the framing, which would only be a break.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

__all__ = ["FaultRelay", "Frames"]

_PREFACE_BYTES = 24
_HEAD_BYTES = 9
_DATA = 0
_READ_BYTES = 1 << 16

# Smaller messages are commands: nothing but the content of an upload is this long, and a digest stands over it.
_CORRUPTIBLE_BYTES = 4096


class Frames:
    """Cuts one direction of an HTTP/2 connection, as a client sends it, into its frames."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytearray]:
        """Take bytes as they come and yield every frame that is whole; the first one is the preface."""
        self._pending += data
        while len(self._pending) >= (needed := self._needed()):
            frame, self._pending = self._pending[:needed], self._pending[needed:]
            self._begun = True
            yield frame

    def _needed(self) -> int:
        if not self._begun:
            return _PREFACE_BYTES
        if len(self._pending) < _HEAD_BYTES:
            return _HEAD_BYTES
        return _HEAD_BYTES + int.from_bytes(self._pending[:3], "big")


class FaultRelay:
    """Carries bytes between clients on one Unix socket and the agent on another.

    Args:
        path: socket of the clients, open to this user only.
        inner: socket of the agent.
        on_bytes: told the length of the messages' data on its way to the board; returns seconds to hold it up.
    """

    def __init__(self, path: Path, inner: Path, on_bytes: Callable[[int], float]) -> None:
        self._path, self._inner, self._on_bytes = path, inner, on_bytes
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._corruptions = 0

    async def open(self) -> None:
        """Begin to listen; a socket that an earlier process left is replaced."""
        previous = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(previous)

    async def close(self) -> None:
        """Be gone: break every connection and take the socket away."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._path.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        """Break every connection at once; what was on the way is lost."""
        for writer in self._writers:
            writer.transport.abort()

    def corrupt_next(self) -> None:
        """Flip one byte of the next message that is long enough."""
        self._corruptions += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        inner: asyncio.StreamWriter | None = None
        try:
            answers, inner = await asyncio.open_unix_connection(self._inner)
            self._writers.add(inner)
            await _first(self._to_board(reader, inner), _copy(answers, writer))
        except OSError:
            pass  # either side is gone, which is what the other one hears now
        finally:
            for end in (writer, inner):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _to_board(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await reader.read(_READ_BYTES):
            for frame in frames.feed(data):
                await self._hold(frame)
                writer.write(frame)
            await writer.drain()

    async def _hold(self, frame: bytearray) -> None:
        size = len(frame) - _HEAD_BYTES
        if frame[3] != _DATA or size <= 0:
            return
        if (seconds := self._on_bytes(size)) > 0:
            await asyncio.sleep(seconds)
        if self._corruptions and size >= _CORRUPTIBLE_BYTES:
            self._corruptions -= 1
            frame[_HEAD_BYTES + size // 2] ^= 0x01


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()


async def _first(*directions: Awaitable[None]) -> None:
    """Wait until one direction ends, and end the other."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(OSError):
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, OSError):
                    raise ended
