"""Streams of samples in bounded memory, and their bytes on pipes and in blobs."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

__all__ = ["KEPT_COUNT_MAX", "SAMPLE_BYTES", "ThinnedSamples", "from_bytes", "to_bytes"]

SAMPLE_BYTES = 8
"""Bytes of one sample: int64 nanoseconds."""

KEPT_COUNT_MAX = 100_000
"""Samples kept of one trial, 0.8 MB: 150 times what a p99 needs, and no more however long the run is."""


class ThinnedSamples:
    """The samples of a stream of any length, evenly thinned to fit.

    Every sample is kept until there are too many; then every second one of the whole stream, every fourth, and
    so on. What is kept is in order of time and spread evenly over it.

    Args:
        kept_count_max: samples that are kept at most; 2 or more.
    """

    def __init__(self, kept_count_max: int = KEPT_COUNT_MAX) -> None:
        self.kept: array[int] = array("q")
        #: Samples of the stream.
        self.count = 0
        #: Every so many of the stream are kept.
        self.stride = 1
        #: Shortest and longest of the stream, kept or not; None while it is empty.
        self.minimum: int | None = None
        self.maximum: int | None = None
        self._kept_count_max = max(2, kept_count_max)

    def __len__(self) -> int:
        return len(self.kept)

    def twin(self) -> ThinnedSamples:
        """Return an empty one that keeps as many."""
        return ThinnedSamples(self._kept_count_max)

    def thin_to(self, stride: int) -> None:
        """Keep every ``stride``-th of the stream, a power of two times the present one."""
        if stride > self.stride:
            self.kept = self.kept[:: stride // self.stride]
            self.stride = stride

    def extend(self, samples: Sequence[int]) -> None:
        """Take in the next samples of the stream."""
        if not samples:
            return
        low, high = min(samples), max(samples)
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)
        # Aligned with the stream, not with the batch.
        self.kept.extend(samples[-self.count % self.stride :: self.stride])
        self.count += len(samples)
        while len(self.kept) > self._kept_count_max:
            self.kept = self.kept[::2]
            self.stride *= 2


def to_bytes(samples: Iterable[int]) -> bytes:
    """Return samples as little-endian int64."""
    data = array("q", samples)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def from_bytes(data: bytes) -> array[int]:
    """Return samples from little-endian int64; bytes that make no whole sample are left out."""
    samples = array("q", data[: len(data) - len(data) % SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples
