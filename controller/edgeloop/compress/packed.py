"""Packs a model file for the wire: weights on grids of sixteen values become four bits, the rest stays as it is.

The packed form is checked by expanding it again: what does not come back bit for bit is not packed.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.packed import BLOCKS, LITERAL, MAGIC, TABLE, expand

from edgeloop.compress.graph import load_model, parameters_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BLOCK", "is_on_grid", "pack"]

BLOCK = 32
"""Elements that share a scale."""

_SMALLEST_BYTES = 256
"""Below this a segment's own head outweighs what it saves."""

_LEVELS = (*range(-8, 0), *range(1, 9))


def pack(source: Path, target: Path) -> bool:
    """Write the packed form of an ONNX file; return False, with nothing written, when it would not be smaller."""
    data = source.read_bytes()
    parts, cursor = [MAGIC], 0
    for tensor in (p.tensor for p in parameters_in(load_model(source))):
        raw = tensor.raw_data
        segment = _segment(tensor) if len(raw) >= _SMALLEST_BYTES else b""
        place = data.find(raw, cursor) if segment else -1
        if place < 0:
            continue
        parts += [_literal(data[cursor:place]), segment]
        cursor = place + len(raw)
    parts.append(_literal(data[cursor:]))
    packed = b"".join(parts)
    if len(packed) >= len(data) or b"".join(expand([packed], len(data))) != data:
        return False
    target.write_bytes(packed)
    return True


def _literal(data: bytes) -> bytes:
    return struct.pack("<BQ", LITERAL, len(data)) + data if data else b""


def _segment(tensor: Any) -> bytes:
    """Return the packed segment of a tensor's raw bytes; empty when its values need more than four bits."""
    import numpy as np
    import onnx

    if tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
        values = np.frombuffer(tensor.raw_data, np.uint8)
        table, indices = np.unique(values, return_inverse=True)
        if len(table) > 16:
            return b""
        head = struct.pack("<BQ", TABLE, len(values)) + table.tobytes().ljust(16, b"\0")
        return head + _halves(indices.astype(np.uint8))
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return b""
    found = _levels(np.frombuffer(tensor.raw_data, "<f4"))
    return b"" if found is None else _blocks(*found, len(tensor.raw_data))


def _halves(indices: NDArray[np.uint8]) -> bytes:
    import numpy as np

    even = np.pad(indices, (0, len(indices) % 2))
    return (even[0::2] << np.uint8(4) | even[1::2]).tobytes()


def _blocks(levels: NDArray[np.int8], scales: NDArray[np.float32], size: int) -> bytes:
    import numpy as np

    halves = levels.astype(np.uint8) & np.uint8(15)
    body = np.empty((len(levels), 2 + BLOCK // 2), np.uint8)
    body[:, :2] = (scales.view(np.uint32) >> np.uint32(16)).astype("<u2").view(np.uint8).reshape(-1, 2)
    body[:, 2:] = halves[:, 0::2] << np.uint8(4) | halves[:, 1::2]
    # The last block is cut to the elements that there are.
    unused = (len(levels) * BLOCK - size // 4) // 2
    content = body.tobytes()
    return struct.pack("<BQH", BLOCKS, size, BLOCK) + content[: len(content) - unused]


def is_on_grid(values: NDArray[np.float32]) -> bool:
    """Return whether every block of neighbours in memory has at most 16 values on a grid around zero."""
    return _levels(values.reshape(-1)) is not None


def _levels(flat: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Return levels and scales that give exactly these values; None when there are none."""
    import numpy as np

    rows = np.pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)
    if not np.isfinite(rows).all() or (np.signbit(rows) & (rows == 0)).any():
        return None
    ends = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)[:, 0]
    chosen, scales = np.zeros(rows.shape, np.int8), np.zeros(len(rows), np.float32)
    open_rows = ends != 0
    for level in _LEVELS:
        scale = np.asarray(ends / np.float32(level), np.float32)
        short = (scale.view(np.uint32) & np.uint32(0xFFFF)) == 0
        safe = np.where(scale == 0, np.float32(1), scale)
        found = np.clip(np.rint(rows / safe[:, None]), -8, 7)
        exact = open_rows & short & (found * scale[:, None] == rows).all(axis=1)
        chosen[exact], scales[exact] = found[exact].astype(np.int8), scale[exact]
        open_rows &= ~exact
    return None if open_rows.any() else (chosen, scales)
