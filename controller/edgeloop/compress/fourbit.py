"""Weights on a grid of sixteen values a block, and what of them a byte recipe can rebuild.

Scales are rounded to bfloat16: a scale of 8 significant bits times a level of 4 is exact in float32, so that a device
rebuilds every weight bit for bit from 4 bits and its block's 16 (:mod:`edgeloop_foundation.packed`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["block_grid", "channel_grid", "nearest_levels", "on_grid", "to_bfloat16"]

_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""Shares of the largest magnitude that are tried as the end of the grid; the least squared error wins."""

_LEVELS = (7.0, -8.0, 8.0)
"""Level that the largest magnitude falls on: the last two use the grid's longer side."""


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the nearest float32 whose lower 16 bits are zero, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def _best(rows: NDArray[np.float32], levels: tuple[float, ...], low: int) -> Any:
    """Return levels ``[rows, size]`` (int8) and scales ``[rows]`` of least squared error."""
    import numpy as np

    ends = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)[:, 0]
    best = np.full(len(rows), np.inf)
    chosen = np.zeros(rows.shape, np.int8)
    scales = np.zeros(len(rows), np.float32)
    for level in levels:
        for clip in _CLIPS:
            scale = to_bfloat16(np.asarray(ends * (clip / level), np.float32))
            safe = np.where(scale == 0, np.float32(1), scale)
            found = np.clip(np.rint(rows / safe[:, None]), low, 7)
            error = ((found * scale[:, None] - rows) ** 2).sum(axis=1, dtype=np.float64)
            better = error < best
            best[better], scales[better] = error[better], scale[better]
            chosen[better] = found[better].astype(np.int8)
    return chosen, scales


def nearest_levels(
    rows: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return levels ``[rows, size]`` from -8 to 7 and one scale a row, of least squared error."""
    levels, scales = _best(rows, _LEVELS, -8)
    return levels, scales


def block_grid(values: NDArray[np.float32], size: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return levels ``[blocks, size]`` from -8 to 7 and one scale a block of ``size`` neighbours in memory.

    The last block is filled up with zeros.
    """
    import numpy as np

    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    rows = np.pad(flat, (0, -len(flat) % size)).reshape(-1, size)
    return nearest_levels(rows)


def on_grid(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the values rounded to their blocks' grids, in their shape."""
    import numpy as np

    levels, scales = block_grid(values, size)
    # Adding zero drops the sign of zeros, which a negative scale would give them.
    flat = (levels.astype(np.float32) * scales[:, None] + np.float32(0)).reshape(-1)[: values.size]
    return np.asarray(flat.reshape(values.shape), np.float32)


def channel_grid(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the values rounded to 15 levels around zero, one scale an output channel.

    The largest magnitude of a channel is on level 7: a quantiser to int8 that takes its scale from it finds no more
    than 15 values in a channel, which is what makes the int8 form four bits at rest. Where cutting a channel's ends
    makes the squared error of the whole smaller, they are cut.
    """
    import numpy as np

    moved = np.moveaxis(values, axis, 0)
    rows = np.ascontiguousarray(moved, np.float32).reshape(len(moved), -1)
    best, made = np.full(len(rows), np.inf), np.zeros_like(rows)
    for clip in _CLIPS:
        scales = to_bfloat16(np.asarray(np.abs(rows).max(axis=1) * (clip / 7.0), np.float32))
        safe = np.where(scales == 0, np.float32(1), scales)
        levels = np.clip(np.rint(rows / safe[:, None]), -7, 7).astype(np.float32)
        found = levels * scales[:, None] + np.float32(0)
        error = ((found - rows) ** 2).sum(axis=1, dtype=np.float64)
        better = error < best
        best[better], made[better] = error[better], found[better]
    return np.ascontiguousarray(np.moveaxis(made.reshape(moved.shape), 0, axis), np.float32)
