"""Product quantisation: neighbouring numbers of a row stand for one of 256 learnt groups of numbers.

Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI 2011. Each group of columns has
a codebook of its own, found by Lloyd's iterations; a row is one byte a group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CODES", "coded", "decoded"]

CODES = 256
"""Entries of a codebook: what one byte names."""

_SAMPLE_ROWS = 8192
"""Rows that a codebook is learnt from; the others are only assigned."""

_ROUNDS = 12
"""Lloyd's iterations; the error of a further one changes in the third digit."""


def coded(table: NDArray[np.float32], size: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return codes ``[rows, groups]`` and codebooks ``[groups, 256, size]`` of least squared error.

    Args:
        table: ``[rows, columns]`` with at least 256 rows; columns are filled up with zeros to whole groups.
        size: columns that share a code.
        seed: decides which rows the codebooks start from.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    rows, columns = table.shape
    padded = np.pad(table, ((0, 0), (0, -columns % size))).reshape(rows, -1, size)
    chosen = np.sort(rng.permutation(rows)[:_SAMPLE_ROWS])
    codes = np.empty(padded.shape[:2], np.uint8)
    books = np.empty((padded.shape[1], CODES, size), np.float32)
    for group in range(padded.shape[1]):
        points = np.ascontiguousarray(padded[:, group])
        books[group] = _learnt(points[chosen], rng)
        codes[:, group] = _nearest(points, books[group])
    return codes, books


def decoded(codes: NDArray[np.uint8], books: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return the table ``[rows, columns]`` that codes and codebooks stand for."""
    import numpy as np

    groups = np.arange(codes.shape[1])
    return np.ascontiguousarray(books[groups, codes].reshape(len(codes), -1)[:, :columns])


def _learnt(points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    import numpy as np

    book = points[rng.permutation(len(points))[:CODES]].copy()
    for _ in range(_ROUNDS):
        owner = _nearest(points, book)
        counts = np.bincount(owner, minlength=CODES)
        sums = np.stack([np.bincount(owner, column, CODES) for column in points.T], axis=1)
        used = counts > 0
        book[used] = (sums[used] / counts[used, None]).astype(np.float32)
        # An entry that nobody is near to goes where the error is largest.
        if not used.all():
            errors = ((points - book[owner]) ** 2).sum(axis=1)
            book[~used] = points[np.argsort(-errors)[: int((~used).sum())]]
    return book


def _nearest(points: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.uint8]:
    import numpy as np

    distances = (book**2).sum(axis=1) - 2.0 * points @ book.T
    return np.asarray(distances.argmin(axis=1), np.uint8)
