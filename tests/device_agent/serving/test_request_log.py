"""The log of requests: within its bytes, whole lines, off means gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeloop_agent.serving.request_log import RequestLog
from edgeloop_agent.telemetry.request_log import DIRECTORY, request_log_lines
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import OsFileSystem


def write(log: RequestLog, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        log.add(
            wall_s=1e9 + number,
            latency_s=0.00123456789,
            queue_s=0.0001,
            rows=2,
            version="3",
            precision="int8",
            protocol="grpc",
        )


def lines(state: Path) -> list[dict[str, object]]:
    text = b"".join(request_log_lines(OsFileSystem(), state, "demo"))
    return [json.loads(line) for line in text.splitlines()]


def test_lines_come_back_whole(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / DIRECTORY, "demo", 1 << 20)
    write(log, 3)
    log.flush()
    found = lines(tmp_path)
    assert len(found) == 3
    assert found[0] == {
        "wall_s": 1e9,
        "latency_s": 0.001235,
        "queue_s": 0.0001,
        "rows": 2,
        "version": "3",
        "precision": "int8",
        "protocol": "grpc",
    }


def test_the_budget_is_kept_and_the_newest_lines_stay(tmp_path: Path) -> None:
    budget = 16 << 10
    log = RequestLog(tmp_path / DIRECTORY, "demo", budget)
    for start in range(0, 1000, 50):
        write(log, 50, start)
        log.flush()
        assert sum(path.stat().st_size for path in (tmp_path / DIRECTORY).iterdir()) <= budget
    times = [line["wall_s"] for line in lines(tmp_path)]
    assert times == sorted(times)  # type: ignore[type-var]
    assert times[-1] == 1e9 + 999
    assert len(times) > 50
    # A process that starts again goes on within the same budget.
    again = RequestLog(tmp_path / DIRECTORY, "demo", budget)
    write(again, 500, 1000)
    again.flush()
    assert sum(path.stat().st_size for path in (tmp_path / DIRECTORY).iterdir()) <= budget


def test_a_torn_line_is_not_shown(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / DIRECTORY, "demo", 1 << 20)
    write(log, 2)
    log.flush()
    with (tmp_path / DIRECTORY / "demo.new").open("ab") as file:
        file.write(b'{"wall_s":1')
    assert len(lines(tmp_path)) == 2


def test_off_removes_what_was_there(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / DIRECTORY, "demo", 1 << 20)
    write(log, 2)
    log.flush()
    off = RequestLog(tmp_path / DIRECTORY, "demo", 0)
    assert not off.on
    with pytest.raises(NotFoundError, match="no requests of 'demo' are logged"):
        lines(tmp_path)


def test_a_name_that_leaves_the_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not possible"):
        list(request_log_lines(OsFileSystem(), tmp_path, "../secret"))
