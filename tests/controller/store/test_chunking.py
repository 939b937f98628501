"""Where files are cut: by content alone, in bounds, and always in the same places."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from edgeloop.store.chunking import LARGE_FILE_BYTES, chunk_stream, mean_bytes
from edgeloop_protocol.chunk_list import Chunk

MEAN = 8192


def cut(data: bytes, mean: int = MEAN) -> list[Chunk]:
    return list(chunk_stream(io.BytesIO(data).read, mean))


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def weights(size: int) -> bytes:
    return np.random.default_rng(0).normal(0, 0.05, size // 4).astype(np.float32).tobytes()


def quantized(size: int) -> bytes:
    return np.random.default_rng(0).normal(0, 20, size).clip(-127, 127).astype(np.int8).tobytes()


def pruned(size: int) -> bytes:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.05, size // 4).astype(np.float32)
    return (values * (rng.random(size // 4) < 0.1)).astype(np.float32).tobytes()


@pytest.mark.parametrize("kind", [noise, weights, quantized, pruned, bytes])
def test_chunks_are_the_content_and_keep_their_bounds(kind: Callable[[int], bytes]) -> None:
    data = kind(2_000_000)
    chunks, place = cut(data), 0
    for chunk in chunks:
        piece = data[place : place + chunk.size_bytes]
        assert hashlib.sha256(piece).digest() == chunk.digest
        place += chunk.size_bytes
    assert place == len(data)
    sizes = [chunk.size_bytes for chunk in chunks[:-1]]
    assert min(sizes) >= MEAN // 4
    assert max(sizes) <= 4 * MEAN
    if kind is not bytes:
        # Of a pruned model, most places look alike and few can be ends.
        assert MEAN / 3 < len(data) / len(chunks) < (3.9 if kind is pruned else 2) * MEAN


@pytest.mark.parametrize("kind", [noise, weights, quantized, pruned])
@pytest.mark.parametrize("inserted", [b"x", b"some words", noise(5000, seed=1)])
def test_a_change_moves_no_other_chunk(kind: Callable[[int], bytes], inserted: bytes) -> None:
    data = kind(1_500_000)
    place = 700_001
    before, after = cut(data), cut(data[:place] + inserted + data[place:])
    assert len(set(after) - set(before)) <= 4 + len(inserted) // (MEAN // 4)


def test_the_places_do_not_depend_on_how_it_is_read() -> None:
    data = noise(600_000)
    rng = random.Random(3)
    file = io.BytesIO(data)
    assert list(chunk_stream(lambda _size: file.read(rng.randrange(1, 5000)), MEAN)) == cut(data)


def test_the_places_are_for_ever() -> None:
    # Another way of cutting needs another name of the directory that keeps the lists.
    told = hashlib.sha256()
    for chunk in cut(noise(500_000, seed=7)):
        told.update(chunk.digest)
    assert told.hexdigest()[:16] == "eabe53daf0fb4ff3"


def test_an_end_of_a_read_is_no_end_of_a_chunk() -> None:
    data = noise((1 << 20) + 100)
    ends = np.cumsum([chunk.size_bytes for chunk in cut(data)])
    assert 1 << 20 not in ends


def test_nothing_has_no_chunks_and_little_has_one() -> None:
    assert cut(b"") == []
    assert [chunk.size_bytes for chunk in cut(b"abc")] == [3]


def test_large_files_are_cut_coarsely() -> None:
    assert mean_bytes(LARGE_FILE_BYTES - 1) == 8 << 10
    assert mean_bytes(LARGE_FILE_BYTES) == 512 << 10
    chunks = cut(noise(8 << 20), 512 << 10)
    assert 6 <= len(chunks) <= 30
