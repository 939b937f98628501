"""The disk with faults: errors of the kernel's, and what a power loss takes along."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from edgeloop_agent.simulate.fault_disk import FaultDisk
from edgeloop_foundation.ports.fs import write_durably


@pytest.fixture
def writes() -> list[int]:
    return []


@pytest.fixture
def disk(writes: list[int]) -> FaultDisk:
    return FaultDisk(lambda: writes.append(1))


def test_a_full_disk_says_what_the_kernel_says_and_keeps_what_there_was(
    disk: FaultDisk, tmp_path: Path
) -> None:
    path = tmp_path / "kept"
    write_durably(disk, path, b"old")
    disk.fill(0)
    assert disk.free_bytes(tmp_path) == 0
    with pytest.raises(OSError, match="No space") as caught:
        write_durably(disk, path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_room_comes_back_after_its_time(disk: FaultDisk, tmp_path: Path) -> None:
    disk.fill(1e-9)
    write_durably(disk, tmp_path / "a", b"x")
    assert disk.free_bytes(tmp_path) > 0


def test_a_power_loss_takes_what_was_not_synced(disk: FaultDisk, tmp_path: Path) -> None:
    synced, half, lost = (tmp_path / name for name in ("synced", "half", "lost"))
    write_durably(disk, synced, b"safe")
    file = disk.create(half)
    file.write(b"first")
    file.sync()
    file.write(b"second")
    other = disk.create(lost)
    other.write(b"nothing of this")
    disk.freeze()
    with pytest.raises(OSError, match="Input/output"):
        file.write(b"third")
    with pytest.raises(OSError, match="Input/output"):
        disk.rename(lost, tmp_path / "elsewhere")
    disk.lose_unsynced()
    disk.thaw()
    assert (synced.read_bytes(), half.read_bytes(), lost.read_bytes()) == (b"safe", b"first", b"")


def test_what_is_unsynced_stays_so_under_another_name(disk: FaultDisk, tmp_path: Path) -> None:
    file = disk.create(tmp_path / "a")
    file.write(b"data")
    file.close()
    disk.rename(tmp_path / "a", tmp_path / "b")
    disk.lose_unsynced()
    assert (tmp_path / "b").read_bytes() == b""


def test_what_is_appended_to_an_older_file_is_lost_alone(disk: FaultDisk, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"line 1\n")
    file = disk.append(path)
    file.write(b"line 2\n")
    file.close()
    disk.lose_unsynced()
    assert path.read_bytes() == b"line 1\n"


def test_every_write_is_told_before_it_happens(disk: FaultDisk, writes: list[int], tmp_path: Path) -> None:
    file = disk.create(tmp_path / "a")
    file.write(b"1")
    file.write(b"2")
    file.truncate(0)
    assert len(writes) == 2
