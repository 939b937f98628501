"""A request of the Open Inference Protocol, taken apart so that its tensors stay where the wire has put them.

The library for messages copies raw contents twice, into a message and out of it again. Both copies find nothing in the
processor's caches, from which the run before has pushed everything: they cost more than all the rest of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb

__all__ = ["RawRequest", "parse_request"]

_LENGTH_DELIMITED, _VARINT, _FIXED_64, _FIXED_32 = 2, 0, 1, 5
_RAW_KEY = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | _LENGTH_DELIMITED
# More, or less to copy, and the library is faster; a request of millions of fields would keep the interpreter busy.
_FIELDS_MAX, _BYTES_MIN = 32, 4096
_VARINT_BITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """What came over the wire."""

    #: Everything but raw contents.
    message: pb.ModelInferRequest
    #: Raw contents in their order, within the bytes that came.
    raw: Sequence[bytes | memoryview]


def parse_request(data: bytes) -> RawRequest:
    """Return the request that ``data`` encodes.

    Raises:
        google.protobuf.message.DecodeError: it encodes none.
    """
    found = _apart(data) if len(data) >= _BYTES_MIN else None
    if found is None:
        message = pb.ModelInferRequest.FromString(data)
        return RawRequest(message=message, raw=list(message.raw_input_contents))
    rest, raw = found
    return RawRequest(message=pb.ModelInferRequest.FromString(b"".join(rest)), raw=raw)


def _apart(data: bytes) -> tuple[list[memoryview], list[memoryview]] | None:
    """Return what is around raw contents, and these; None where the library had better look at the whole."""
    view, size, at, begin = memoryview(data), len(data), 0, 0
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    try:
        for _ in range(_FIELDS_MAX):
            if at == size:
                rest.append(view[begin:])
                return rest, raw
            start = at
            key, at = _varint(data, at)
            content, at = _content(data, key & 7, at)
            if at > size:
                return None
            if key == _RAW_KEY:
                rest.append(view[begin:start])
                raw.append(view[content:at])
                begin = at
    except (IndexError, ValueError):
        return None
    return None


def _content(data: bytes, kind: int, at: int) -> tuple[int, int]:
    """Return where the content of a field begins and ends."""
    if kind == _LENGTH_DELIMITED:
        length, at = _varint(data, at)
        return at, at + length
    if kind == _VARINT:
        return at, _varint(data, at)[1]
    if kind in (_FIXED_32, _FIXED_64):
        return at, at + (4 if kind == _FIXED_32 else 8)
    raise ValueError(kind)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _VARINT_BITS, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
