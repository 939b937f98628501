"""The chain of the audit log breaks where somebody touched it, and goes on where a crash cut it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgeloop.store.audit import AuditLog
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.ports.fs import make_durable_directory, write_durably
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path / "audit.jsonl", lambda: 1.5)
    for number in range(4):
        log.append("deploy demo", f"board-{number}", "committed", counter=number)
    return log


def lines(path: Path) -> list[bytes]:
    return (path / "audit.jsonl").read_bytes().splitlines(keepends=True)


def test_an_untouched_chain_holds_and_grows(log: AuditLog) -> None:
    first = log.verify().head
    head = log.append("rollback demo", "board-1", "rolled_back")
    found = log.verify(known=first)
    assert (found.count, found.head, found.torn_bytes) == (5, head, 0)


@pytest.mark.parametrize("damage", ["changed", "last changed", "removed", "swapped", "cut", "first removed"])
def test_a_touched_line_is_found(log: AuditLog, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    touched = {
        "changed": [lines[0], lines[1].replace(b"board-1", b"board-9"), *lines[2:]],
        "last changed": [*lines[:3], lines[3].replace(b"board-3", b"board-9")],
        "removed": [*lines[:2], *lines[3:]],
        "swapped": [lines[0], lines[2], lines[1], lines[3]],
        "cut": [*lines[:3], lines[3][:-5]],
        "first removed": lines[1:],
    }
    path.write_bytes(b"".join(touched[damage]))
    with pytest.raises(CorruptDataError, match="line"):
        log.verify()
    with pytest.raises(CorruptDataError):
        log.append("deploy demo", "board-5", "committed")


@pytest.mark.parametrize("kept", [0, 2, 3])
def test_acknowledged_lines_that_were_cut_off_are_found(log: AuditLog, tmp_path: Path, kept: int) -> None:
    (tmp_path / "audit.jsonl").write_bytes(b"".join(lines(tmp_path)[:kept]))
    for act in (log.verify, lambda: log.append("deploy demo", "board-5", "committed")):
        with pytest.raises(CorruptDataError, match=f"line 4 was acknowledged and it ends with line {kept}:"):
            act()


def test_an_acknowledged_line_cannot_be_passed_off_as_a_torn_one(log: AuditLog, tmp_path: Path) -> None:
    *before, last = lines(tmp_path)
    for forged in [last[:size] for size in range(len(last) - 1)] + [bytes(len(last)), last[:9] + bytes(9)]:
        (tmp_path / "audit.jsonl").write_bytes(b"".join(before) + forged)
        with pytest.raises(CorruptDataError, match="cut off"):
            log.verify()


def test_a_log_without_its_head_is_found_unless_it_is_of_an_earlier_version(
    log: AuditLog, tmp_path: Path
) -> None:
    (tmp_path / "audit.head").unlink()
    with pytest.raises(CorruptDataError, match=r"audit.head is missing"):
        log.verify()
    (tmp_path / "audit.head").write_text("[]")
    with pytest.raises(CorruptDataError, match="does not say"):
        log.verify()


def test_a_chain_that_was_made_anew_shows_to_whom_an_earlier_head_is_known(tmp_path: Path) -> None:
    for name in ("true", "forged"):
        log = AuditLog(tmp_path / name / "audit.jsonl", lambda: 1.5)
        head = log.append("deploy demo", name, "committed")
        if name == "true":
            known = head
    assert log.verify().count == 1
    with pytest.raises(CorruptDataError, match="no line has the digest"):
        log.verify(known)


def test_a_line_that_was_cut_at_any_byte_is_set_aside_and_said(log: AuditLog, tmp_path: Path) -> None:
    """A kill leaves any beginning of the line, and the head that was acknowledged before it."""
    path, head = tmp_path / "audit.jsonl", (tmp_path / "audit.head").read_bytes()
    before = path.read_bytes()
    digest = log.append("deploy demo", "board-4", "committed")
    torn = lines(tmp_path)[-1]
    for size in range(1, len(torn)):
        fs, whole = SimulatedFileSystem(), size == len(torn) - 1
        make_durable_directory(fs, tmp_path)
        write_durably(fs, path, before + torn[:size])
        write_durably(fs, tmp_path / "audit.head", head)
        found = AuditLog(path, lambda: 2.5, fs)
        state = found.verify()
        assert (state.count, state.torn_bytes) == ((5, 0) if whole else (4, size))
        found.append("rollback demo", "board-1", "rolled_back")
        state, (last, fifth, *_) = found.verify(), found.entries(limit=2)
        assert (state.count, state.torn_bytes, last["action"]) == (6, 0, "rollback demo")
        if whole:
            assert fifth["digest"] == digest
        else:
            assert (fifth["action"], fifth["subject"]) == ("set aside a torn line", "audit-torn-5.jsonl")
            assert fifth["details"]["size_bytes"] == size
            assert fs.read(tmp_path / "audit-torn-5.jsonl") == torn[:size]


def test_a_log_of_an_earlier_version_goes_on(log: AuditLog, tmp_path: Path) -> None:
    older = b'{"action":"deploy","before":"' + b"0" * 64 + b'","details":{},"number":1,"outcome":"committed",'
    older += b'"subject":"board","time_s":1.5,"who":"me"}'
    entry = {**json.loads(older), "digest": hashlib.sha256(older).hexdigest()}
    whole = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    for torn in (b"", whole[:70]):
        home = tmp_path / f"older-{len(torn)}"
        home.mkdir()
        (home / "audit.jsonl").write_bytes(whole + torn)
        found = AuditLog(home / "audit.jsonl", lambda: 1.5)
        assert found.verify().torn_bytes == len(torn)
        found.append("deploy demo", "board-4", "committed")
        (home / "audit.jsonl").write_bytes(lines(home)[0])
        with pytest.raises(CorruptDataError, match="cut off"):
            found.verify()


def test_no_power_cut_takes_an_acknowledged_line_or_asks_for_a_hand(tmp_path: Path) -> None:
    """Every state of the disk that a cut while a line is added may leave, and while a torn one is set aside."""
    fs, path = SimulatedFileSystem(), tmp_path / "audit.jsonl"

    def open_on(left: SimulatedFileSystem) -> AuditLog:
        return AuditLog(path, lambda: 1.5, left)

    def add(left: SimulatedFileSystem) -> str:
        return open_on(left).append("deploy demo", "board", "committed")

    head = add(fs)
    fs.settle()
    add(fs)
    torn, count = [], 0
    for left in fs.crash_states():
        count += 1
        left.settle()
        if open_on(left).verify(known=head).torn_bytes:
            torn.append(left)
        head_after = add(left)
        assert open_on(left).verify(known=head).head == head_after
    assert count > 5
    assert torn
    for left in torn:
        for again in left.crash_states():
            add(again)
            assert open_on(again).verify(known=head).torn_bytes == 0
            # Another one may have been cut since.
            assert "set aside a torn line" in [one["action"] for one in open_on(again).entries(limit=9)]


def test_what_the_disk_refuses_is_not_said_and_breaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for index in range(100):
        fs = SimulatedFileSystem()
        log = AuditLog(path, lambda: 1.5, fs)
        head = log.append("deploy demo", "board", "committed")
        fs.fail_at(fs.operation_count + index, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        try:
            log.append("deploy demo", "board", "committed")
        except OSError:
            assert log.verify(known=head).count in (1, 2)
            log.append("deploy demo", "board", "committed")
            assert log.verify(known=head).torn_bytes == 0
        else:
            break
    assert index > 5


def test_a_line_that_a_full_disk_cuts_is_taken_back(tmp_path: Path) -> None:
    path, room = tmp_path / "audit.jsonl", 900
    cut = 0
    for room in range(500, 1100, 20):
        fs = SimulatedFileSystem(capacity_bytes=room)
        log = AuditLog(path, lambda: 1.5, fs)
        head = log.append("deploy demo", "board", "committed")
        try:
            log.append("deploy demo", "board", "committed", why="x" * 200)
        except OSError:
            cut += log.verify(known=head).count == 1
            assert log.verify(known=head).torn_bytes == 0
    assert cut


_WRITER = """
import sys
from pathlib import Path
from edgeloop.store.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), lambda: 1.5)
while True:
    print(log.append("deploy demo", "board", "committed", note="x" * 20000), flush=True)
"""


def test_a_killed_writer_loses_no_line_that_it_told_of(tmp_path: Path) -> None:
    path, told = tmp_path / "audit.jsonl", ""
    for number in range(4):
        words = [sys.executable, "-c", _WRITER, str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = writer.stdout.readline().strip()
            time.sleep(0.003 * number)
            writer.send_signal(signal.SIGKILL)
            told = [told, *writer.stdout.read().split("\n")[:-1]][-1]
        AuditLog(path, lambda: 1.5).verify(known=told)
