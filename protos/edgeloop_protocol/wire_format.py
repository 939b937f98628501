"""Fields of a serialized message, found without the protobuf library where it would copy large contents.

Protocol Buffers, "Encoding": a message is its fields one after the other, each with a tag (number and kind) before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Field", "decode_varint", "encode_varint", "fields_of", "tag_of"]

# Kinds of fields; contents of the third have their length before them: strings, bytes, messages.
_VARINT, _FIXED_64, _LENGTH_DELIMITED, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_VARINT_BYTES_MAX = 10


class Field(NamedTuple):
    """Where a field lies in a message."""

    #: Number and kind, as ``tag_of`` gives them.
    tag: int
    #: Where its tag begins.
    begin: int
    #: Where its content begins.
    content: int
    #: Where it ends.
    end: int


def tag_of(number: int) -> int:
    """Return the tag of a length-delimited field."""
    return number << 3 | _LENGTH_DELIMITED


def encode_varint(number: int) -> bytes:
    """Return a number of 0 or more, seven bits a byte, the lowest first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def decode_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and where it ends.

    Raises:
        ValueError: it does not end within ten bytes, or within ``data``.
    """
    number = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise ValueError("a number does not end")


def fields_of(data: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message.

    Raises:
        ValueError: one is cut off, or of a kind that there is not.
    """
    size, at = len(data), 0
    while at < size:
        begin = at
        tag, content = decode_varint(data, at)
        kind = tag & 7
        if kind == _LENGTH_DELIMITED:
            length, content = decode_varint(data, content)
            at = content + length
        elif kind == _VARINT:
            _, at = decode_varint(data, content)
        elif kind in _FIXED_BYTES:
            at = content + _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field has the unknown kind {kind}")
        if at > size:
            raise ValueError("a field is cut off")
        yield Field(tag, begin, content, at)
