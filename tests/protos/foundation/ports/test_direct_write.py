"""What goes past the page cache arrives whole, in whatever pieces, and is not in the cache afterwards."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop_foundation.ports.direct_write import DirectWriter

_MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("seed", range(5))
def test_any_pieces_and_any_flushes_make_the_same_file(path: Path, descriptor: int, seed: int) -> None:
    draw = random.Random(seed)
    content = draw.randbytes(draw.randrange(3 * _MIB, 4 * _MIB))
    begin = draw.choice([0, 1, 4095, 4096, 5000])
    os.write(descriptor, content[:begin])
    writer, at = DirectWriter(descriptor), begin
    while at < len(content):
        size = draw.choice([1, 100, 4096, 65_537, _MIB, 2 * _MIB + 1])
        writer.write(content[at : at + size])
        at = min(len(content), at + size)
        if draw.random() < 0.5:
            writer.flush()
            assert path.stat().st_size == at
    writer.flush()
    writer.flush()
    writer.close()
    assert path.read_bytes() == content


def test_where_the_system_refuses_the_cache_is_used(
    path: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    real, refused = os.pwrite, []

    def pwrite(opened: int, data: memoryview, place: int) -> int:
        if fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(place)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(opened, data, place)

    monkeypatch.setattr(os, "pwrite", pwrite)
    content = os.urandom(3 * _MIB + 17)
    writer = DirectWriter(descriptor)
    writer.write(content)
    writer.flush()
    writer.close()
    assert path.read_bytes() == content
    assert len(refused) <= 1


def test_an_error_of_the_disk_is_not_taken_for_a_refusal(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        DirectWriter(descriptor).write(bytes(_MIB))


def test_what_was_written_is_not_in_the_page_cache(path: Path, descriptor: int) -> None:
    if not _goes_past_cache(path.with_name("tried")):
        pytest.skip("this file system has no way past the page cache")
    writer = DirectWriter(descriptor)
    writer.write(os.urandom(2 * _MIB + 100))
    writer.flush()
    os.fdatasync(descriptor)
    writer.close()
    with pytest.raises(BlockingIOError):
        os.preadv(descriptor, [bytearray(4096)], 4096, os.RWF_NOWAIT)
    # The last incomplete block has to be.
    assert os.preadv(descriptor, [bytearray(100)], 2 * _MIB, os.RWF_NOWAIT) == 100


def _goes_past_cache(path: Path) -> bool:
    """Return whether the file system takes direct writes and does not answer from memory anyway."""
    import mmap

    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        try:
            os.write(opened, mmap.mmap(-1, 4096))
        finally:
            os.close(opened)
        with path.open("rb") as file:
            os.preadv(file.fileno(), [bytearray(4096)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
