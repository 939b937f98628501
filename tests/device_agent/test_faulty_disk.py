"""The disk of scripts/heavy/install_kills: it strikes where it should, and what it plants is found."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from edgeloop_agent.slots import Pointer, SlotFiles, Slots
from edgeloop_agent.store import ContentStore
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.ports.fs import OsFileSystem, write_durably

from scripts.heavy.faulty_disk import FaultyDisk, Plan

# Lets slot 1 serve, then dies while slot 2 takes over; both are whole.
_SWITCH = """
import json, sys
from pathlib import Path
from edgeloop_foundation.ports.fs import write_durably
from scripts.heavy.faulty_disk import FaultyDisk, Plan
disk = FaultyDisk(Plan(**json.loads(sys.argv[1])))
target = Path(sys.argv[2])
disk.arm()
write_durably(disk, target, b"new")
print("through")
"""


def switched(root: Path, plan: str) -> tuple[int, bytes | None]:
    """Replace a pointer in a process that its disk kills; return its exit status and what is left."""
    target = root / "pointer.json"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", _SWITCH, plan, str(target)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, target.read_bytes() if target.exists() else None


@pytest.mark.parametrize(
    ("plan", "status", "left"),
    [
        # A pointer is replaced by create, write, sync, rename, sync of the directory.
        ('{"at": 4, "lose": true}', -9, b"old"),
        ('{"at": 5, "lose": true}', -9, b"new"),
        ('{"at": 5, "plant": "torn-rename"}', -9, None),
        ('{"at": 5, "lose": true, "plant": "no-fsync"}', -9, b""),
    ],
)
def test_a_process_dies_at_the_planned_operation(
    tmp_path: Path, plan: str, status: int, left: bytes | None
) -> None:
    assert switched(tmp_path, plan) == (status, left)


def test_what_a_torn_rename_leaves_is_not_taken_for_a_version(tmp_path: Path) -> None:
    """The look that install_kills takes at a disk finds an emptied pointer."""
    fs = OsFileSystem()
    slots = Slots(fs, tmp_path, ContentStore(fs, tmp_path / "store", store_bytes=1 << 20, reserve_bytes=0))
    (tmp_path / "demo").mkdir()
    slots.point("demo", Pointer())
    (tmp_path / "demo" / "pointer.json").write_bytes(b"")
    with pytest.raises(CorruptDataError):
        SlotFiles(fs, tmp_path).pointer("demo")


@pytest.mark.parametrize("kind", ["ENOSPC", "EIO", "EMFILE"])
def test_an_error_comes_once_and_leaves_the_old_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    disk = FaultyDisk(Plan(kind=kind, at=1))
    disk.arm()
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        write_durably(disk, path, b"new")
    assert raised.value.errno == getattr(errno, kind)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"
    write_durably(disk, path, b"new")
    assert path.read_bytes() == b"new"
