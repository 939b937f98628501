"""A file rebuilt from a packed form, byte for byte, with the standard library alone.

Layout: ``MAGIC``, then segments until the end. A segment is its kind (one byte) and the number of bytes that it gives
(eight bytes, little-endian, as all numbers here), then by kind:

- ``LITERAL``: the bytes themselves.
- ``TABLE``: a table of 16 bytes, then one index of four bits for each byte given, the higher half of a byte first.
- ``BLOCKS``: the block's length in elements (two bytes), then for each block its scale (bfloat16) and one level of four
  bits for each element, two's complement, the higher half of a byte first; gives ``float32(scale * level)``, which is
  exact, and zero without a sign. The last block may be shorter.

Whoever expands a file that somebody sent checks the digest of what came out; this module only promises never to give
more than was asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from edgeloop_foundation.errors import CorruptDataError

__all__ = ["BLOCKS", "LITERAL", "MAGIC", "TABLE", "expand"]

MAGIC = b"edgeloop packed 1\n"
LITERAL, TABLE, BLOCKS = 0, 1, 2

_HEAD = struct.Struct("<BQ")
_PIECE_BYTES = 1 << 16
"""Bytes of input worked on at a time, so that memory does not grow with the file."""

_NIBBLES = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))
_SIGNED = (*range(8), *range(-8, 0))


class _Reader:
    """Exact reads from pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = bytearray()

    def take(self, count: int) -> bytes:
        while len(self._held) < count:
            piece = next(self._pieces, b"")
            if not piece:
                raise CorruptDataError("a packed file ends in the middle.", next_step="Send it again.")
            self._held += piece
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def at_end(self) -> bool:
        while not self._held:
            piece = next(self._pieces, b"")
            if not piece:
                return True
            self._held += piece
        return False


def expand(pieces: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """Yield the content of a packed file.

    Args:
        pieces: its bytes, in pieces of any size.
        size_bytes: what it is declared to expand to.

    Raises:
        CorruptDataError: it is not of the layout, or gives more or less than ``size_bytes``.
    """
    reader, given = _Reader(pieces), 0
    if reader.take(len(MAGIC)) != MAGIC:
        raise CorruptDataError("a packed file does not begin as one.", next_step="Send the artifact again.")
    while not reader.at_end():
        kind, size = _HEAD.unpack(reader.take(_HEAD.size))
        given += size
        if given > size_bytes or kind not in _KINDS:
            raise CorruptDataError(
                f"a packed file has a segment of kind {kind} up to byte {given} of {size_bytes} declared.",
                next_step="Send the artifact again; a newer form needs a newer agent.",
            )
        yield from _KINDS[kind](reader, size)
    if given != size_bytes:
        raise CorruptDataError(
            f"a packed file gives {given} bytes, {size_bytes} were declared.", next_step="Send it again."
        )


def _literal(reader: _Reader, size: int) -> Iterator[bytes]:
    while size:
        piece = min(size, _PIECE_BYTES)
        yield reader.take(piece)
        size -= piece


def _nibbles(data: bytes) -> bytes:
    return data.hex().encode().translate(_NIBBLES)


def _table(reader: _Reader, size: int) -> Iterator[bytes]:
    table = reader.take(16) + bytes(240)
    while size:
        count = min(size, 2 * _PIECE_BYTES)
        yield _nibbles(reader.take((count + 1) // 2)).translate(table)[:count]
        size -= count


def _blocks(reader: _Reader, size: int) -> Iterator[bytes]:
    (length,) = struct.unpack("<H", reader.take(2))
    if not length or size % 4:
        raise CorruptDataError("a packed file has blocks of no length.", next_step="Send it again.")
    per_block, left = 2 + (length + 1) // 2, size // 4
    at_once = max(1, _PIECE_BYTES // per_block)
    while left >= length:
        count = min(at_once, left // length)
        data = reader.take(count * per_block)
        yield b"".join(
            _block(data[start : start + per_block], length) for start in range(0, len(data), per_block)
        )
        left -= count * length
    if left:
        yield _block(reader.take(2 + (left + 1) // 2), left)


def _block(data: bytes, length: int) -> bytes:
    (scale,) = struct.unpack("<f", b"\0\0" + data[:2])
    # Adding zero makes the product of a negative scale and level 0 a plain zero.
    values = [scale * level + 0.0 for level in _SIGNED]
    try:
        return struct.pack(f"<{length}f", *[values[i] for i in _nibbles(data[2:])[:length]])
    except OverflowError as error:
        raise CorruptDataError(
            "a packed file has a scale that no float32 weight has.", next_step="Send it again."
        ) from error


_KINDS = {LITERAL: _literal, TABLE: _table, BLOCKS: _blocks}
