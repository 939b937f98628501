"""The chain of the audit log breaks where somebody touched it."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.store.audit import AuditLog
from edgeloop_foundation.errors import CorruptDataError


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path / "audit.jsonl", lambda: 1.5)
    for number in range(4):
        log.append("deploy demo", f"board-{number}", "committed", counter=number)
    return log


def test_an_untouched_chain_holds_and_grows(log: AuditLog) -> None:
    head = log.append("rollback demo", "board-1", "rolled_back")
    assert log.verify() == (5, head)


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
