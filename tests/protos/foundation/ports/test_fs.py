"""``write_durably`` in every state that a power cut or an error can leave."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path

import pytest
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably
from edgeloop_foundation.ports.simulated_fs import PowerCut, SimulatedFileSystem

_PATH = Path("/state/journal")
_OLD, _NEW = b"old content", b"the new content"


def prepared(*, capacity_bytes: int = 1 << 20) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(capacity_bytes=capacity_bytes)
    fs.make_directory(_PATH.parent)
    write_durably(fs, _PATH, _OLD)
    fs.settle()
    return fs


def found_after(fs: SimulatedFileSystem) -> set[bytes]:
    return {state.read(_PATH) if state.exists(_PATH) else b"<absent>" for state in fs.crash_states()}


def without_sync(fs: FileSystem, path: Path, data: bytes) -> None:
    temporary = path.with_name(".tmp")
    file = fs.create(temporary)
    file.write(data)
    file.close()
    fs.rename(temporary, path)
    fs.sync_directory(path.parent)


def in_place(fs: FileSystem, path: Path, data: bytes) -> None:
    fs.remove(path)
    file = fs.create(path)
    file.write(data)
    file.sync()
    file.close()
    fs.sync_directory(path.parent)


def without_directory_sync(fs: FileSystem, path: Path, data: bytes) -> None:
    temporary = path.with_name(".tmp")
    file = fs.create(temporary)
    file.write(data)
    file.sync()
    file.close()
    fs.rename(temporary, path)


def test_every_power_cut_leaves_the_old_or_the_new_content() -> None:
    fs = prepared()
    write_durably(fs, _PATH, _NEW)
    assert found_after(fs) == {_OLD, _NEW}


def test_once_it_returned_the_new_content_stays() -> None:
    fs = prepared()
    write_durably(fs, _PATH, _NEW)
    # crash_states covers every moment; after the return only one state of the file is left.
    for seed in range(50):
        again = prepared()
        write_durably(again, _PATH, _NEW)
        assert again.crash(seed).read(_PATH) == _NEW


def test_a_first_write_leaves_nothing_or_the_whole() -> None:
    fs = SimulatedFileSystem()
    fs.make_directory(_PATH.parent)
    fs.settle()
    write_durably(fs, _PATH, _NEW)
    assert found_after(fs) == {b"<absent>", _NEW}


def test_a_variant_without_sync_is_caught() -> None:
    fs = prepared()
    without_sync(fs, _PATH, _NEW)
    found = found_after(fs)
    assert b"" in found, "a zero-length file"
    assert _NEW[: len(_NEW) // 2] in found, "a torn file"
    assert bytes(len(_NEW)) in found, "a file of zeros"


def test_a_variant_that_removes_first_is_caught() -> None:
    fs = prepared()
    in_place(fs, _PATH, _NEW)
    assert b"<absent>" in found_after(fs)


def test_a_variant_without_directory_sync_forgets() -> None:
    outcomes = set()
    for seed in range(30):
        fs = prepared()
        without_directory_sync(fs, _PATH, _NEW)
        outcomes.add(fs.crash(seed).read(_PATH))
    assert outcomes == {_OLD, _NEW}


def _operations() -> int:
    fs = prepared()
    before = fs.operation_count
    write_durably(fs, _PATH, _NEW)
    return fs.operation_count - before


@pytest.mark.parametrize("index", range(_operations()))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_operation_leaves_one_whole_content_and_no_rubbish(index: int, code: int) -> None:
    fs = prepared()
    fs.fail_at(fs.operation_count + index, OSError(code, "injected"))
    with pytest.raises(OSError) as caught:
        write_durably(fs, _PATH, _NEW)
    assert caught.value.errno == code
    last_sync = index == _operations() - 1
    assert fs.read(_PATH) == (_NEW if last_sync else _OLD)
    assert [name for name, _ in fs.entries(_PATH.parent)] == [_PATH.name]
    assert found_after(fs) <= {_OLD, _NEW}


@pytest.mark.parametrize("index", range(_operations()))
def test_a_power_cut_at_any_operation_leaves_one_whole_content(index: int) -> None:
    for seed in range(8):
        fs = prepared()
        fs.fail_at(fs.operation_count + index, PowerCut())
        with pytest.raises(PowerCut):
            write_durably(fs, _PATH, _NEW)
        assert fs.crash(seed).read(_PATH) in (_OLD, _NEW)


def test_a_full_disk_keeps_the_old_content() -> None:
    fs = prepared(capacity_bytes=len(_OLD) + 4)
    with pytest.raises(OSError) as caught:
        write_durably(fs, _PATH, _NEW)
    assert caught.value.errno == errno.ENOSPC
    assert fs.read(_PATH) == _OLD
    assert fs.free_bytes(_PATH) == 4


def test_a_small_file_is_read_without_a_large_buffer(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"0123456789")
    tracemalloc.start()
    try:
        assert list(OsFileSystem().read_chunks(tmp_path / "small", 2, 1 << 20)) == [b"23456789"]
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()
