"""Streams of any length in bounded memory."""

from __future__ import annotations

import pytest
from edgeloop_agent.samples import ThinnedSamples, from_bytes, to_bytes


def test_a_short_stream_is_kept_whole() -> None:
    samples = ThinnedSamples(100)
    samples.extend([3, 1, 2])
    assert (list(samples.kept), samples.count, samples.stride) == ([3, 1, 2], 3, 1)


@pytest.mark.parametrize("batch", [1, 7, 64, 999])
def test_a_long_stream_is_thinned_evenly_whatever_its_batches(batch: int) -> None:
    stream = list(range(5000))
    samples = ThinnedSamples(100)
    for begin in range(0, len(stream), batch):
        samples.extend(stream[begin : begin + batch])
    assert samples.count == 5000
    assert len(samples) <= 100
    assert list(samples.kept) == stream[:: samples.stride]
    assert (samples.minimum, samples.maximum) == (0, 4999)


def test_extremes_are_of_all_samples() -> None:
    samples = ThinnedSamples(4)
    samples.extend([5, 9, 5, 5, 5, 1, 5, 5])
    assert 9 not in samples.kept
    assert (samples.minimum, samples.maximum) == (1, 9)


def test_two_streams_can_be_thinned_alike() -> None:
    samples = ThinnedSamples(10)
    samples.extend(range(10))
    samples.thin_to(4)
    assert (list(samples.kept), samples.stride) == ([0, 4, 8], 4)
    samples.thin_to(2)
    assert samples.stride == 4


def test_bytes_are_little_endian() -> None:
    assert to_bytes([1, 256]) == b"\1" + bytes(7) + b"\0\1" + bytes(6)
    assert list(from_bytes(to_bytes([7, -1]) + b"xyz")) == [7, -1]
