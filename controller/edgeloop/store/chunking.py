"""Cutting files into chunks whose ends depend on the content around them alone, so that a change moves no other chunk.

A chunk ends where a hash of the 32 bytes before says so, but not below a quarter and at the latest at four times of
the wanted mean: content-defined chunking as in FastCDC (Xia et al., USENIX ATC 2016), with another hash. Theirs needs a
step per byte, which numpy does at 100 to 200 MB/s; here a cheap hash of two bytes rules out 255 of 256 places at 1,800
MB/s, and only the rest is hashed for real. Small files are cut finer: a chunk costs 80 bytes of lists on the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from edgeloop_protocol.chunk_list import Chunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LARGE_FILE_BYTES", "chunk_stream", "mean_bytes"]

LARGE_FILE_BYTES = 64 << 20
"""From this size on, files are cut into chunks of 512 KiB on average, smaller ones into 8 KiB.

Measured on Magika (3.2 MB), its last layer (13.9 % of it) changed, lists included: 2 KiB 19.5, 4 KiB 16.8, 8 KiB 16.0,
16 KiB 16.3, 32 KiB 16.2 % of the bytes; since lists and packs are compressed, 8 KiB 14.1 %.
"""

_LARGE_BITS, _SMALL_BITS = 19, 13
_PAIR_BITS = 8
_WINDOW_BYTES = 32
_READ_BYTES = 1 << 20
# Odd numbers without structure: the golden ratio's bits, and those of the finaliser of MurmurHash3.
_PAIR_FACTOR, _WORD_FACTOR, _END_FACTOR = 40503, 0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD


def mean_bytes(size_bytes: int) -> int:
    """Return the mean chunk of a file of this size."""
    return 1 << (_LARGE_BITS if size_bytes >= LARGE_FILE_BYTES else _SMALL_BITS)


def chunk_stream(read: Callable[[int], bytes], mean: int) -> Iterator[Chunk]:
    """Yield the chunks of what ``read(size)`` returns until it returns nothing.

    Args:
        read: like the method of a file; 1 MiB is asked for at a time, any amount is taken.
        mean: wanted mean size, a power of two from 1 KiB to 4 MiB.
    """
    least, most = mean // 4, mean * 4
    hasher, length, carry = hashlib.sha256(), 0, b""
    while block := read(_READ_BYTES):
        joined = carry + block
        ends = _ends(joined, len(carry), mean.bit_length() - 1)
        data, begin = memoryview(block), 0
        for end in _choose(ends, len(block), length, least, most):
            hasher.update(data[begin:end])
            yield Chunk(digest=hasher.digest(), size_bytes=length + end - begin)
            hasher, length, begin = hashlib.sha256(), 0, end
        hasher.update(data[begin:])
        length += len(block) - begin
        carry = joined[-_WINDOW_BYTES:]
    if length:
        yield Chunk(digest=hasher.digest(), size_bytes=length)


def _choose(ends: Iterable[int], size: int, length: int, least: int, most: int) -> Iterator[int]:
    """Yield those places within a block of ``size`` where a chunk ends that has ``length`` bytes before it."""
    begin = -length
    for end in (*ends, size):
        while end - begin > most:
            begin += most
            yield begin
        if end < size and end - begin >= least:
            yield end
            begin = end


def _ends(data: bytes, before: int, bits: int) -> list[int]:
    """Return the places after which a chunk may end, counted from the byte ``before``, where new data begins."""
    import numpy as np

    words = np.ndarray((max(0, len(data) - 7),), "<u8", data, strides=(1,))
    found = [_strong(words, _pairs(data, odd), bits) for odd in (0, 1)]
    places = np.sort(np.concatenate(found)) - before
    # An end in front of the new data was not known to be one before there was any.
    return [int(place) for place in places[places >= 0]]


def _pairs(data: bytes, odd: int) -> NDArray[np.int64]:
    """Return the ends of those pairs of bytes that a cheap hash lets pass."""
    import numpy as np

    pairs = np.frombuffer(data, "<u2", (len(data) - odd) // 2, odd)
    # The highest hashes, not the lowest: that of two zeros is zero, and weights have many.
    passed = pairs * np.uint16(_PAIR_FACTOR) >= np.uint16((1 << 16) - (1 << (16 - _PAIR_BITS)))
    # A run of one value, such as the zeros of a pruned model, would pass everywhere or nowhere.
    passed[1:] &= pairs[1:] != pairs[:-1]
    return 2 * np.flatnonzero(passed) + (2 + odd)


def _strong(words: NDArray[np.uint64], ends: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return those ends before which a hash of 32 bytes begins with so many zero bits."""
    import numpy as np

    ends = ends[ends >= _WINDOW_BYTES]
    mixed = np.zeros(len(ends), np.uint64)
    for back in range(_WINDOW_BYTES, 0, -8):
        mixed = (mixed ^ words[ends - back]) * np.uint64(_WORD_FACTOR)
        mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(_END_FACTOR)
    kept: NDArray[np.int64] = ends[mixed >> np.uint64(64 - (bits - _PAIR_BITS)) == 0]
    return kept
