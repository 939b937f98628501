"""Where the bytes of an upload come from: a file that many uploads read together, or parts of it as a pack.

One reader for all: every block is read from the disk once and handed to all who want it while it is among the last
ones. Nobody waits for anybody: a device that falls behind further than that has its blocks read again, for it alone.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from edgeloop_foundation.errors import CorruptDataError
from edgeloop_protocol.chunk_list import Chunk, encode_chunks

__all__ = ["BLOCK_BYTES", "Pack", "SharedFile", "Source", "open_shared"]

BLOCK_BYTES = 1 << 20
"""What is read at once."""

_BLOCKS_KEPT = 16


class Source(Protocol):
    """Content of a known size; ``read`` blocks on the disk and may be called from several threads."""

    @property
    def size_bytes(self) -> int:
        """Size of the content."""
        ...

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Return up to ``size`` bytes from ``offset`` on, at least one before the end.

        Raises:
            CorruptDataError: the content has become shorter.
        """
        ...


class _Block:
    """A block that somebody reads now, or has read."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.data = b""


class SharedFile:
    """A file of which the last 16 MiB that anybody read are kept."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.path = path
        self._size_bytes = os.fstat(self._file.fileno()).st_size
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._lock = threading.Lock()
        #: Blocks read from the disk so far.
        self.block_reads = 0

    @property
    def size_bytes(self) -> int:
        """Size of the file when it was opened."""
        return self._size_bytes

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, offset: int, size: int) -> memoryview:
        """Return up to ``size`` bytes from ``offset`` on, at most to the end of a block.

        Raises:
            CorruptDataError: the file has become shorter.
        """
        number, begin = divmod(offset, BLOCK_BYTES)
        data = self._block(number)
        if begin >= len(data) and offset < self.size_bytes:
            raise CorruptDataError(f"{self.path} became shorter while it was sent.")
        return memoryview(data)[begin : begin + size]

    def _block(self, number: int) -> bytes:
        with self._lock:
            block = self._blocks.get(number)
            mine = block is None
            if block is None:
                block = self._blocks[number] = _Block()
                self.block_reads += 1
                while len(self._blocks) > _BLOCKS_KEPT:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(number)
        if mine:
            try:
                block.data = os.pread(self._file.fileno(), BLOCK_BYTES, number * BLOCK_BYTES)
            finally:
                block.ready.set()
        block.ready.wait()
        return block.data


class _Users:
    """A shared file and how many read it."""

    def __init__(self, path: Path) -> None:
        self.file = SharedFile(path)
        self.count = 0


_open: dict[Path, _Users] = {}
_open_lock = threading.Lock()


@contextlib.contextmanager
def open_shared(path: Path) -> Iterator[SharedFile]:
    """Yield the one reader of a file in this process; the last who leaves closes it."""
    with _open_lock:
        users = _open.get(path)
        if users is None:
            users = _open[path] = _Users(path)
        users.count += 1
    try:
        yield users.file
    finally:
        with _open_lock:
            users.count -= 1
            if users.count == 0:
                del _open[path]
                users.file.close()


class Pack:
    """Some chunks of a file behind their list, as one content; read from the file as it is sent."""

    def __init__(self, file: SharedFile, parts: Sequence[tuple[int, Chunk]]) -> None:
        """Take chunks and their places in the file."""
        self._file = file
        self._head = encode_chunks(chunk for _, chunk in parts)
        self._places = [place for place, _ in parts]
        # Where each chunk begins in the pack.
        self._begins: list[int] = []
        end = len(self._head)
        for _, chunk in parts:
            self._begins.append(end)
            end += chunk.size_bytes
        self._size_bytes = end

    @property
    def size_bytes(self) -> int:
        """Size of the list and the chunks."""
        return self._size_bytes

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on."""
        pieces, left = [], min(size, self._size_bytes - offset)
        while left > 0:
            piece = self._piece(offset, left)
            pieces.append(piece)
            offset += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _piece(self, offset: int, size: int) -> bytes | memoryview:
        if offset < len(self._head):
            return self._head[offset : offset + size]
        number = bisect.bisect_right(self._begins, offset) - 1
        end = self._begins[number + 1] if number + 1 < len(self._begins) else self._size_bytes
        place = self._places[number] + offset - self._begins[number]
        return self._file.read(place, min(size, end - offset))

    def digest(self) -> str:
        """Read all of it and return its SHA-256."""
        hasher = hashlib.sha256()
        offset = 0
        while offset < self._size_bytes:
            data = self.read(offset, BLOCK_BYTES)
            hasher.update(data)
            offset += len(data)
        return hasher.hexdigest()
