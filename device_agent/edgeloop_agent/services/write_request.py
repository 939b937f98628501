"""Requests of an upload as they came, their data not copied: protobuf would copy every byte of it twice more."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.v1 import bytestream_pb2
from edgeloop_protocol.wire_format import fields_of, tag_of

__all__ = ["WriteFrame", "decode_write"]

_DATA = tag_of(bytestream_pb2.WriteRequest.DATA_FIELD_NUMBER)


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
    head, data = bytearray(), view[:0]
    for field in fields_of(message):
        if field.tag == _DATA:
            data = view[field.content : field.end]
        else:
            head += view[field.begin : field.end]
    said = bytestream_pb2.WriteRequest.FromString(bytes(head))
    return WriteFrame(
        resource_name=said.resource_name,
        write_offset=said.write_offset,
        finish_write=said.finish_write,
        data=data,
    )
