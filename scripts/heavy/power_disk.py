"""A disk in memory that writes down every write and flush, and what is left of it when the power goes at some place.

It is handed to a machine as a network block device (NBD, the fixed newstyle handshake and simple replies). A flush
covers the writes that had been answered when it arrived, no later ones. Whatever no flush covers may be there after a
cut, in part or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Cut", "Disk", "Flush", "Mark", "Recording", "Write", "serve_disk"]

SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""

_SAMPLE_COUNT = 256

_OPTION_MAGIC, _REPLY_MAGIC = 0x49484156454F5054, 0x0003E889045565A9
_REQUEST_MAGIC, _ANSWER_MAGIC = 0x25609513, 0x67446698
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _IS_INFO, _UNSUPPORTED = 1, 3, 0x80000001
_READ, _WRITE, _DISCONNECT, _FLUSH = range(4)
_HAS_FLAGS, _SEND_FLUSH = 1, 4
_INVALID = 22
_REQUEST = struct.Struct(">IHHQQI")
_ENTRY = struct.Struct(">cQI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Bytes that reached the disk's cache."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """What of the cache went to the medium."""

    #: Number of writes, from the first one, that are safe now.
    covers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the outside was told at this place."""

    said: dict[str, Any]


Entry = Write | Flush | Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where the power goes, and the seed of what is left of the cache."""

    #: Number of entries before it.
    place: int
    seed: str


@dataclass(kw_only=True)
class Recording:
    """The disk as it was at first, and all that happened to it."""

    base: bytes
    entries: list[Entry] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it to a file; the base is not part of it."""
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            for entry in self.entries:
                if isinstance(entry, Write):
                    file.write(_ENTRY.pack(b"W", entry.offset, len(entry.data)) + entry.data)
                elif isinstance(entry, Flush):
                    file.write(_ENTRY.pack(b"F", entry.covers, 0))
                else:
                    said = json.dumps(entry.said).encode()
                    file.write(_ENTRY.pack(b"M", 0, len(said)) + said)
        temporary.replace(path)

    @classmethod
    def load(cls, base: bytes, path: Path) -> Recording:
        """Read what ``save`` wrote."""
        whole, at = path.read_bytes(), 0
        entries: list[Entry] = []
        while at < len(whole):
            kind, number, size = _ENTRY.unpack_from(whole, at)
            data = whole[at + _ENTRY.size : at + _ENTRY.size + size]
            at += _ENTRY.size + size
            if kind == b"W":
                entries.append(Write(offset=number, data=data))
            elif kind == b"F":
                entries.append(Flush(covers=number))
            else:
                entries.append(Mark(said=json.loads(data)))
        return cls(base=base, entries=entries)

    def marks(self, place: int) -> list[dict[str, Any]]:
        """Return what the outside had been told before a place."""
        return [entry.said for entry in self.entries[:place] if isinstance(entry, Mark)]

    def sample(self, content: bytearray, cut: Cut) -> dict[str, Any]:
        """Return places that were written to last, and the digest of what stands at them now."""
        writes = [entry for entry in self.entries[: cut.place] if isinstance(entry, Write)]
        offsets = [write.offset for write in writes[-_SAMPLE_COUNT:]]
        whole = b"".join(content[offset : offset + SECTOR_BYTES] for offset in offsets)
        return {"offsets": offsets, "sha256": hashlib.sha256(whole).hexdigest()}

    def image(self, cut: Cut) -> tuple[bytearray, int, int]:
        """Return the disk after a cut, the number of writes that no flush covered, and of those that were lost.

        One that is torn counts as lost.
        """
        draw = random.Random(cut.seed)
        before = self.entries[: cut.place]
        writes = [entry for entry in before if isinstance(entry, Write)]
        safe = max((entry.covers for entry in before if isinstance(entry, Flush)), default=0)
        left, lost = bytearray(self.base), 0
        for write in writes[:safe]:
            left[write.offset : write.offset + len(write.data)] = write.data
        pending = writes[safe:]
        keep = draw.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        # A cache that is written back in order loses its end, others lose anything.
        ends = draw.randint(0, len(pending)) if draw.random() < 0.3 else len(pending)
        for number, write in enumerate(pending):
            if number >= ends or draw.random() >= keep:
                lost += 1
                if draw.random() < 0.2:
                    _tear(left, write, draw)
                continue
            left[write.offset : write.offset + len(write.data)] = write.data
        return left, len(pending), lost


def _tear(left: bytearray, write: Write, draw: random.Random) -> None:
    """Let some sectors of a write arrive."""
    for start in range(0, len(write.data), SECTOR_BYTES):
        if draw.random() < 0.5:
            part = write.data[start : start + SECTOR_BYTES]
            left[write.offset + start : write.offset + start + len(part)] = part


class Disk:
    """What a machine reads and writes; with a recording it writes everything down."""

    def __init__(self, content: bytes | bytearray, recording: Recording | None = None) -> None:
        self.content = bytearray(content)
        self._recording = recording
        self._answered = 0

    def answered(self) -> int:
        """Return how many writes were answered so far; a flush that arrives now covers those."""
        return self._answered

    def note_answered(self) -> None:
        """Count a write as answered."""
        self._answered += 1

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes as they are, flushed or not."""
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Take bytes into the cache."""
        self.content[offset : offset + len(data)] = data
        if self._recording is not None:
            self._recording.entries.append(Write(offset=offset, data=data))

    def flush(self, covers: int) -> None:
        """Bring the writes to the medium that were answered when the flush arrived."""
        if self._recording is not None:
            self._recording.entries.append(Flush(covers=covers))

    def mark(self, said: dict[str, Any]) -> None:
        """Write down what the outside is told now."""
        if self._recording is not None:
            self._recording.entries.append(Mark(said=said))


async def serve_disk(disk: Disk, path: Path) -> asyncio.Server:
    """Offer a disk on a Unix socket until the server is closed."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await _handshake(disk, reader, writer):
                await _transmit(disk, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            # The machine was ended.
            pass
        finally:
            writer.close()

    return await asyncio.start_unix_server(one, path, limit=1 << 26)


async def _handshake(disk: Disk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Agree upon the disk; return False when the client goes away."""
    writer.write(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    await reader.readexactly(4)
    export = struct.pack(">QH", len(disk.content), _HAS_FLAGS | _SEND_FLUSH)
    while True:
        magic, option, size = struct.unpack(">QII", await reader.readexactly(16))
        await reader.readexactly(size)
        if magic != _OPTION_MAGIC:
            return False
        if option == _EXPORT_NAME:
            writer.write(export)
            return True
        for kind, data in _replies(option, export):
            writer.write(struct.pack(">QIII", _REPLY_MAGIC, option, kind, len(data)) + data)
        await writer.drain()
        if option in (_GO, _ABORT):
            return option == _GO


def _replies(option: int, export: bytes) -> Iterator[tuple[int, bytes]]:
    if option in (_INFO, _GO):
        yield _IS_INFO, struct.pack(">H", 0) + export
        yield _ACK, b""
    else:
        yield (_ACK if option == _ABORT else _UNSUPPORTED), b""


async def _transmit(disk: Disk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests in order; each is noted when it arrives, which may be long before its turn."""
    waiting: asyncio.Queue[tuple[int, int, int, int, bytes, int] | None] = asyncio.Queue()

    async def receive() -> None:
        try:
            while True:
                magic, _, kind, handle, offset, size = _REQUEST.unpack(
                    await reader.readexactly(_REQUEST.size)
                )
                if magic != _REQUEST_MAGIC or kind == _DISCONNECT:
                    return
                data = await reader.readexactly(size) if kind == _WRITE else b""
                waiting.put_nowait((kind, handle, offset, size, data, disk.answered()))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            waiting.put_nowait(None)

    receiver = asyncio.create_task(receive())
    try:
        while (request := await waiting.get()) is not None:
            kind, handle, offset, size, data, answered = request
            error, found = 0, b""
            if kind == _READ:
                found = disk.read(offset, size)
            elif kind == _WRITE:
                disk.write(offset, data)
            elif kind == _FLUSH:
                disk.flush(answered)
            else:
                error = _INVALID
            writer.write(struct.pack(">IIQ", _ANSWER_MAGIC, error, handle) + found)
            await writer.drain()
            if kind == _WRITE:
                disk.note_answered()
            # Requests that have arrived meanwhile are noted before the next answer.
            await asyncio.sleep(0)
    finally:
        receiver.cancel()
