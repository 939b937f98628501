"""Lists of the chunks that a blob consists of, and packs: several chunks on their way to a device as one upload.

A list is a magic word, the number of chunks, digest and size of each, and a CRC-32 of all that; numbers are
little-endian. A pack is a list followed by the chunks themselves. Where a chunk lies follows from the sizes of those
before it, so that no list can point outside of its blob.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError

__all__ = [
    "CHUNKED_BYTES_MIN",
    "CHUNKS_INSTANCE",
    "CHUNKS_MAX",
    "CHUNK_BYTES_MAX",
    "Chunk",
    "check_chunks",
    "chunk_places",
    "decode_chunks",
    "encode_chunks",
    "encoded_bytes",
    "list_end",
]

CHUNKS_INSTANCE = "chunks"
"""Instance name of a FindMissingBlobs that asks for content inside of blobs."""

CHUNKS_MAX = 40_000
"""Most chunks of a list; the digests of so many fit into one message of 4 MiB."""

CHUNKED_BYTES_MIN = 256 << 10
"""Smaller blobs have no list: there is little to save."""

CHUNK_BYTES_MAX = 16 << 20
"""Largest chunk."""

# A list takes 2 % of its blob at most.
_CHUNK_BYTES_MEAN_MIN = 2048
_MAGIC = b"edgeloop chunks1"
_HEAD = struct.Struct("<16sI")
_ENTRY = struct.Struct("<32sI")
_CHECK = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of content."""

    #: SHA-256 of it, 32 bytes.
    digest: bytes
    #: Its size.
    size_bytes: int

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise InvalidInputError(f"a chunk is named by 32 bytes of SHA-256, not by {len(self.digest)}.")
        if not 0 < self.size_bytes <= CHUNK_BYTES_MAX:
            raise InvalidInputError(
                f"a chunk has 1 to {CHUNK_BYTES_MAX} bytes, this one claims {self.size_bytes}."
            )


def check_chunks(chunks: Sequence[Chunk], size_bytes: int) -> None:
    """Check that chunks can make up a blob of this size.

    Raises:
        InvalidInputError: there are too many, or their sizes do not add up to it.
    """
    most = min(CHUNKS_MAX, size_bytes // _CHUNK_BYTES_MEAN_MIN + 1)
    if not 0 < len(chunks) <= most:
        raise InvalidInputError(
            f"a blob of {size_bytes} bytes has 1 to {most} chunks, not {len(chunks)}.",
            next_step="Send it whole.",
        )
    total = sum(chunk.size_bytes for chunk in chunks)
    if total != size_bytes:
        raise InvalidInputError(f"the chunks have {total} bytes together, their blob has {size_bytes}.")


def encoded_bytes(count: int) -> int:
    """Return the size of a list of so many chunks."""
    return _HEAD.size + count * _ENTRY.size + _CHECK.size


def encode_chunks(chunks: Iterable[Chunk]) -> bytes:
    """Return a list as bytes."""
    entries = b"".join(_ENTRY.pack(chunk.digest, chunk.size_bytes) for chunk in chunks)
    body = _HEAD.pack(_MAGIC, len(entries) // _ENTRY.size) + entries
    return body + _CHECK.pack(zlib.crc32(body))


def list_end(head: bytes) -> int:
    """Return where a list ends that begins with ``head``, the first 20 bytes or more.

    Raises:
        CorruptDataError: no list begins so.
    """
    magic, count = _HEAD.unpack_from(head) if len(head) >= _HEAD.size else (b"", 0)
    if magic != _MAGIC or not 0 < count <= CHUNKS_MAX:
        raise CorruptDataError("this is not a list of chunks.")
    return encoded_bytes(count)


def decode_chunks(data: bytes) -> tuple[Chunk, ...]:
    """Return the chunks of a list that begins ``data``.

    Raises:
        CorruptDataError: it is cut off, changed, or not a list.
    """
    try:
        return tuple(Chunk(digest=digest, size_bytes=size) for digest, size, _ in chunk_places(data))
    except InvalidInputError as error:
        raise CorruptDataError(f"a list of chunks is not usable: {error.message}") from error


def chunk_places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield digest, size and place (bytes before it in the blob) of each chunk of a list that begins ``data``.

    Raises:
        CorruptDataError: it is cut off, changed, or not a list.
    """
    end = list_end(data)
    body = memoryview(data)[: end - _CHECK.size]
    if len(data) < end or _CHECK.unpack_from(data, len(body))[0] != zlib.crc32(body):
        raise CorruptDataError("a list of chunks is cut off or changed.")
    place = 0
    for digest, size in _ENTRY.iter_unpack(body[_HEAD.size :]):
        yield digest, size, place
        place += size
