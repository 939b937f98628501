"""Length-prefixed frames between the agent and a runner: a JSON header, then raw bytes.

Layout: ``<II`` header length and payload length, the header as a UTF-8 JSON object, the payload. Both limits
are checked before anything is read, because what a runner sends is as hostile as the model inside it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from edgeloop_foundation.errors import CorruptDataError

__all__ = [
    "HEADER_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "PREFIX",
    "decode_header",
    "decode_prefix",
    "encode_frame",
    "take_streams",
]

PREFIX = struct.Struct("<II")
"""Header length and payload length."""

HEADER_BYTES_MAX = 1 << 20
"""Longest header, 1 MiB."""

PAYLOAD_BYTES_MAX = 16 << 20
"""Longest payload, 16 MiB: two million samples."""


def encode_frame(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Return the bytes of one frame.

    Raises:
        CorruptDataError: header or payload is longer than a frame may hold.
    """
    text = json.dumps(header, separators=(",", ":")).encode()
    _check(len(text), len(payload))
    return PREFIX.pack(len(text), len(payload)) + text + payload


def decode_prefix(prefix: bytes) -> tuple[int, int]:
    """Return the lengths of header and payload.

    Raises:
        CorruptDataError: a length beyond what a frame may hold.
    """
    header_bytes, payload_bytes = PREFIX.unpack(prefix)
    _check(header_bytes, payload_bytes)
    return header_bytes, payload_bytes


def decode_header(data: bytes) -> dict[str, Any]:
    """Return the header's object.

    Raises:
        CorruptDataError: not a JSON object.
    """
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"a frame's header is no JSON: {error}.") from error
    if not isinstance(header, dict):
        raise CorruptDataError(f"a frame's header is a JSON object, not {type(header).__name__}.")
    return header


def _check(header_bytes: int, payload_bytes: int) -> None:
    if header_bytes > HEADER_BYTES_MAX or payload_bytes > PAYLOAD_BYTES_MAX:
        raise CorruptDataError(
            f"a frame of {header_bytes} + {payload_bytes} bytes exceeds "
            f"{HEADER_BYTES_MAX} + {PAYLOAD_BYTES_MAX}."
        )


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Move the frames of this process away from descriptors 0 and 1, where native libraries print."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink
