"""Where content lies that is not a blob of its own: in the chunks of blobs, and in packs of chunks.

Of a blob, the list of its chunks may be kept; a chunk is a place inside of the blob, never a file. A pack holds chunks
that the device lacked, and goes when the blob that it was sent for is there. Nothing is believed: a list that lies
costs a splice, whose result is checked as a whole, and then it is dropped.

Decided 2026-11: missing chunks come as one upload through ByteStream, not by BatchUpdateBlobs. So they resume, are
synced and are bounded in memory by what uploads have already, where a file and two syncs a chunk would wear out a card.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.chunk_list import (
    Chunk,
    check_chunks,
    chunk_places,
    decode_chunks,
    encode_chunks,
    list_end,
)

from edgeloop_agent.upload import DIGEST

__all__ = ["ChunkHome", "Place"]

_PACK = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{64})")
_PACKS_KEPT = 8
_HEAD_BYTES = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a chunk lies."""

    #: The file that has it.
    path: Path
    #: Bytes before it in that file.
    offset: int
    #: Its size.
    size_bytes: int
    #: Digest of the blob whose list tells so; empty when it is in a pack.
    blob: str


class ChunkHome:
    """The chunk lists and packs of one store; its caller holds the store's lock where blobs come and go."""

    def __init__(self, fs: FileSystem, root: Path) -> None:
        self._fs = fs
        self._blobs = root / "blobs"
        self.lists = root / "lists"
        self.packs = root / "packs"
        # (blob it was sent for, own digest) to size, oldest first.
        self._pack_sizes: dict[tuple[str, str], int] = {}

    def open(self, blobs: Collection[str]) -> None:
        """Create the directories; remove lists of blobs that are gone and packs of such that are there."""
        for directory in (self.lists, self.packs):
            make_durable_directory(self._fs, directory)
        for name, _ in self._fs.entries(self.lists):
            if name not in blobs:
                self._fs.remove(self.lists / name)
        for name, size in self._fs.entries(self.packs):
            match = _PACK.fullmatch(name)
            if match is None or match[1] in blobs:
                self._fs.remove(self.packs / name)
            else:
                self._pack_sizes[match[1], match[2]] = size

    def keep_list(self, digest: str, chunks: Sequence[Chunk]) -> None:
        """Keep the list of a blob's chunks, durably; one that does not fit on the disk is left out."""
        try:
            write_durably(self._fs, self.lists / digest, encode_chunks(chunks))
        except OSError as error:
            _log.warning("the chunk list of blob %s is not kept: %s", digest, error)

    def drop_list(self, digest: str) -> None:
        """Forget the chunks of a blob."""
        self._fs.remove(self.lists / digest)

    @property
    def pack_bytes(self) -> int:
        """What all packs take together."""
        return sum(self._pack_sizes.values())

    def removable_bytes(self, sparing: Collection[str]) -> int:
        """Return what the packs take that are not for one of these blobs."""
        return sum(size for (blob, _), size in self._pack_sizes.items() if blob not in sparing)

    def has_pack(self, blob: str, digest: str) -> bool:
        """Return whether a pack for a blob is here."""
        return (blob, digest) in self._pack_sizes

    def adopt_pack(self, path: Path, blob: str, digest: str, size_bytes: int) -> None:
        """Take over a verified and synced file as a pack for ``blob``.

        Raises:
            InvalidInputError: it is not a pack.
        """
        self._check_pack(path, size_bytes)
        self._fs.set_read_only(path)
        self._fs.rename(path, self.packs / f"{blob}.{digest}")
        self._fs.sync_directory(self.packs)
        self._pack_sizes[blob, digest] = size_bytes
        for old in list(self._pack_sizes)[: max(0, len(self._pack_sizes) - _PACKS_KEPT)]:
            if old[0] != blob:
                self._remove_pack(old)

    def _check_pack(self, path: Path, size_bytes: int) -> None:
        try:
            head = self._pack_list(path)
            chunks = decode_chunks(head)
        except CorruptDataError as error:
            raise InvalidInputError(f"the upload is not a pack of chunks: {error.message}") from error
        check_chunks(chunks, size_bytes - len(head))

    def forget_packs(self, sparing: Collection[str]) -> None:
        """Remove the packs that are not for one of these blobs."""
        for key in [key for key in self._pack_sizes if key[0] not in sparing]:
            self._remove_pack(key)

    def forget_packs_of(self, blob: str) -> None:
        """Remove the packs for a blob."""
        for key in [key for key in self._pack_sizes if key[0] == blob]:
            self._remove_pack(key)

    def _remove_pack(self, key: tuple[str, str]) -> None:
        self._fs.remove(self.packs / f"{key[0]}.{key[1]}")
        del self._pack_sizes[key]

    def locate(self, wanted: Collection[tuple[bytes, int]]) -> dict[tuple[bytes, int], Place]:
        """Return places of those chunks (digest, size) that are here, as the lists claim.

        The lists are read each time: an idle device holds none of them in memory.
        """
        found: dict[tuple[bytes, int], Place] = {}
        left = set(wanted)
        for path, blob, data, base in self._sources():
            if not left:
                break
            for digest, size, offset in chunk_places(data):
                if (digest, size) in left:
                    left.remove((digest, size))
                    found[digest, size] = Place(path=path, offset=base + offset, size_bytes=size, blob=blob)
        return found

    def _sources(self) -> Iterator[tuple[Path, str, bytes, int]]:
        """Yield file, blob (empty for a pack), list, and where the chunks begin in the file."""
        for name, _ in self._fs.entries(self.lists):
            if DIGEST.fullmatch(name) and (data := self._usable_list(name)):
                yield self._blobs / name, name, data, 0
        for blob, digest in list(self._pack_sizes):
            path = self.packs / f"{blob}.{digest}"
            try:
                head = self._pack_list(path)
                sum(1 for _ in chunk_places(head))
            except (OSError, CorruptDataError) as error:
                _log.warning("a pack for blob %s is not usable: %s", blob, error)
                continue
            yield path, "", head, len(head)

    def _usable_list(self, digest: str) -> bytes:
        """Return a blob's list, or nothing, and no list any more, when it does not fit the blob."""
        try:
            data = self._fs.read(self.lists / digest)
            size = sum(size for _, size, _ in chunk_places(data))
            if size == self._fs.size(self._blobs / digest):
                return data
        except (OSError, CorruptDataError) as error:
            _log.warning("the chunk list of blob %s is not usable: %s", digest, error)
        self.drop_list(digest)
        return b""

    def _pack_list(self, path: Path) -> bytes:
        head = next(self._fs.read_chunks(path, 0, _HEAD_BYTES), b"")
        return next(self._fs.read_chunks(path, 0, list_end(head)), b"")
