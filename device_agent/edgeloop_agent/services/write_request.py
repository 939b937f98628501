"""Requests of an upload as they came, their data not copied: protobuf would copy every byte of it twice more."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.v1 import bytestream_pb2

__all__ = ["WriteFrame", "decode_write"]

_DATA = bytestream_pb2.WriteRequest.DATA_FIELD_NUMBER
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFrame:
    """One WriteRequest."""

    #: Name of the upload; empty on later requests.
    resource_name: str
    #: Where the data belongs.
    write_offset: int
    #: Whether it is the last request.
    finish_write: bool
    #: A part of the content, inside of the message that it came in.
    data: memoryview


def decode_write(message: bytes) -> WriteFrame:
    """Return what a serialized WriteRequest says.

    Raises:
        ValueError: it is cut off or no such message; the library answers a call that carries one with INTERNAL.
    """
    view = memoryview(message)
    head, data, at = bytearray(), view[:0], 0
    while at < len(view):
        tag, begin = _varint(view, at)
        kind = tag & 7
        if kind == _BYTES:
            size, begin = _varint(view, begin)
            end = begin + size
        elif kind == _VARINT:
            _, end = _varint(view, begin)
        elif kind in _FIXED_BYTES:
            end = begin + _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a WriteRequest has a field of the unknown kind {kind}.")
        if end > len(view):
            raise ValueError("a WriteRequest is cut off.")
        if tag == _DATA << 3 | _BYTES:
            data = view[begin:end]
        else:
            head += view[at:end]
        at = end
    said = bytestream_pb2.WriteRequest.FromString(bytes(head))
    return WriteFrame(
        resource_name=said.resource_name,
        write_offset=said.write_offset,
        finish_write=said.finish_write,
        data=data,
    )


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins there and where it ends."""
    number = 0
    for index in range(10):
        if at + index >= len(view):
            break
        byte = view[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise ValueError("a WriteRequest has a number that does not end.")
