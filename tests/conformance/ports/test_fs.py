"""Every ``FileSystem`` behaves alike."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem


@pytest.fixture(params=["os", "simulated"])
def fs(request: pytest.FixtureRequest) -> FileSystem:
    return OsFileSystem() if request.param == "os" else SimulatedFileSystem()


@pytest.fixture
def root(fs: FileSystem, tmp_path: Path) -> Path:
    fs.make_directory(tmp_path)
    return tmp_path


def put(fs: FileSystem, path: Path, data: bytes) -> None:
    file = fs.create(path)
    file.write(data)
    file.sync()
    file.close()


def test_what_is_written_is_read(fs: FileSystem, root: Path) -> None:
    put(fs, root / "a", b"hello world")
    assert fs.read(root / "a") == b"hello world"
    assert fs.size(root / "a") == 11
    assert list(fs.read_chunks(root / "a", 6, 2)) == [b"wo", b"rl", b"d"]
    assert list(fs.read_chunks(root / "a", 11, 2)) == []


def test_make_directory_makes_parents_and_repeats(fs: FileSystem, root: Path) -> None:
    for _ in range(2):
        fs.make_directory(root / "x" / "y")
    assert fs.entries(root) == [("x", -1)]
    assert fs.entries(root / "x") == [("y", -1)]


def test_make_directory_over_a_file_is_refused(fs: FileSystem, root: Path) -> None:
    put(fs, root / "a", b"")
    with pytest.raises(FileExistsError):
        fs.make_directory(root / "a")
    with pytest.raises(NotADirectoryError):
        fs.make_directory(root / "a" / "b")


def test_create_never_replaces(fs: FileSystem, root: Path) -> None:
    put(fs, root / "a", b"old")
    with pytest.raises(FileExistsError):
        fs.create(root / "a")
    assert fs.read(root / "a") == b"old"


def test_append_goes_on_at_the_end(fs: FileSystem, root: Path) -> None:
    put(fs, root / "a", b"one")
    file = fs.append(root / "a")
    file.write(b" two")
    file.write(b"")
    file.write(b" three")
    file.close()
    assert fs.read(root / "a") == b"one two three"


@pytest.mark.parametrize("opened_by", ["create", "append"])
def test_past_the_cache_the_same_is_written(fs: FileSystem, root: Path, opened_by: str) -> None:
    before = b"" if opened_by == "create" else b"a ragged beginning"
    if before:
        put(fs, root / "a", before)
    file = getattr(fs, opened_by)(root / "a")
    file.bypass_cache()
    content = os.urandom(3 << 20) + b"a ragged end"
    for piece in (content[:5], content[5:5000], content[5000:]):
        file.write(memoryview(piece))
    file.sync()
    assert fs.read(root / "a") == before + content
    file.write(b" and more")
    file.truncate(len(before) + 4097)
    file.write(b"tail")
    file.sync()
    file.close()
    assert fs.read(root / "a") == before + content[:4097] + b"tail"


@pytest.mark.parametrize("opened_by", ["create", "append"])
def test_truncate_cuts_and_writing_goes_on_there(fs: FileSystem, root: Path, opened_by: str) -> None:
    if opened_by == "append":
        put(fs, root / "a", b"")
    file = getattr(fs, opened_by)(root / "a")
    file.write(b"0123456789")
    file.truncate(4)
    file.write(b"x")
    file.truncate(7)
    file.close()
    assert fs.read(root / "a") == b"0123x\0\0"


def test_absent_things(fs: FileSystem, root: Path) -> None:
    absent = root / "absent"
    assert not fs.exists(absent)
    assert fs.entries(absent) == []
    fs.remove(absent)
    fs.remove_tree(absent)
    for call in (fs.read, fs.size, fs.append, fs.set_read_only, fs.sync_directory):
        with pytest.raises(FileNotFoundError):
            call(absent)
    with pytest.raises(FileNotFoundError):
        fs.create(absent / "child")
    with pytest.raises(FileNotFoundError):
        fs.rename(absent, root / "b")


def test_entries_are_sorted_with_sizes(fs: FileSystem, root: Path) -> None:
    put(fs, root / "b", b"12")
    put(fs, root / "a", b"1")
    fs.make_directory(root / "c")
    assert fs.entries(root) == [("a", 1), ("b", 2), ("c", -1)]


def test_rename_replaces_a_file(fs: FileSystem, root: Path) -> None:
    put(fs, root / "a", b"new")
    put(fs, root / "b", b"old")
    fs.rename(root / "a", root / "b")
    assert fs.entries(root) == [("b", 3)]
    assert fs.read(root / "b") == b"new"
    fs.rename(root / "b", root / "b")
    assert fs.read(root / "b") == b"new"


def test_rename_moves_a_directory_with_its_content(fs: FileSystem, root: Path) -> None:
    fs.make_directory(root / "a")
    put(fs, root / "a" / "f", b"1")
    fs.make_directory(root / "d")
    fs.rename(root / "a", root / "d" / "b")
    assert fs.read(root / "d" / "b" / "f") == b"1"
    assert not fs.exists(root / "a")


def test_rename_never_loses_a_directory(fs: FileSystem, root: Path) -> None:
    put(fs, root / "file", b"1")
    fs.make_directory(root / "empty")
    fs.make_directory(root / "full")
    put(fs, root / "full" / "f", b"1")
    with pytest.raises(OSError) as caught:
        fs.rename(root / "empty", root / "full")
    assert caught.value.errno in (errno.ENOTEMPTY, errno.EEXIST)
    with pytest.raises(IsADirectoryError):
        fs.rename(root / "file", root / "empty")
    with pytest.raises(NotADirectoryError):
        fs.rename(root / "empty", root / "file")
    fs.rename(root / "full", root / "empty")
    assert fs.read(root / "empty" / "f") == b"1"


def test_remove_takes_files_only(fs: FileSystem, root: Path) -> None:
    fs.make_directory(root / "d")
    put(fs, root / "f", b"1")
    fs.remove(root / "f")
    with pytest.raises(OSError):
        fs.remove(root / "d")
    assert fs.entries(root) == [("d", -1)]


def test_remove_tree_takes_everything_below(fs: FileSystem, root: Path) -> None:
    fs.make_directory(root / "d" / "e")
    put(fs, root / "d" / "f", b"1")
    put(fs, root / "d" / "e" / "f", b"1")
    put(fs, root / "stays", b"1")
    fs.remove_tree(root / "d")
    assert fs.entries(root) == [("stays", 1)]
    with pytest.raises(NotADirectoryError):
        fs.remove_tree(root / "stays")


def test_an_open_file_keeps_its_content_after_removal(fs: FileSystem, root: Path) -> None:
    file = fs.create(root / "a")
    fs.remove(root / "a")
    put(fs, root / "a", b"second")
    file.write(b"first")
    file.close()
    assert fs.read(root / "a") == b"second"


def test_read_only_files_are_not_appended_to_but_replaced(fs: FileSystem, root: Path) -> None:
    put(fs, root / "a", b"1")
    fs.set_read_only(root / "a")
    if not (isinstance(fs, OsFileSystem) and os.geteuid() == 0):
        with pytest.raises(PermissionError):
            fs.append(root / "a")
    write_durably(fs, root / "a", b"2")
    assert fs.read(root / "a") == b"2"


def test_a_closed_file_takes_nothing(fs: FileSystem, root: Path) -> None:
    file = fs.create(root / "a")
    file.close()
    with pytest.raises(OSError):
        file.write(b"1")


def test_space_is_reported(fs: FileSystem, root: Path) -> None:
    assert 0 < fs.free_bytes(root) <= fs.total_bytes(root)


def test_write_durably_leaves_nothing_beside(fs: FileSystem, root: Path) -> None:
    write_durably(fs, root / "state", b"1")
    write_durably(fs, root / "state", b"22")
    assert fs.entries(root) == [("state", 2)]
    assert fs.read(root / "state") == b"22"
