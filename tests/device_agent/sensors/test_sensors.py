"""The conformance suite of sensors, over trees of boards; a new board is a folder with its expected values."""

from __future__ import annotations

import importlib
import os
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent import sensors
from edgeloop_agent.conditions import read_conditions
from edgeloop_agent.sensors import BUILTIN, SENSORS, SensorSet
from edgeloop_agent.sensors.base import read_head
from edgeloop_foundation.errors import NotFoundError
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem

from tests.device_agent.sensors.boards import (
    BOARDS,
    FROM_DOCUMENTATION,
    RECORDED,
    Ticking,
    copy_of,
    expected_of,
    name_of,
)

OUTCOMES = ("absent: ", "unsupported: ", "failed: ")
SCOPES = {"process", "package", "rail", "board", "wall"}
CUMULATIVE = {"energy", "residency"}
SHARED = {"__init__", "base", "clock_probe", "commands", "hwmon", "nvml"}
"""Files of the room that hold no driver."""

over_boards = pytest.mark.parametrize("board", BOARDS, ids=name_of)


@over_boards
@pytest.mark.parametrize("name", BUILTIN)
def test_a_sensor_reads_what_the_board_holds(board: Path, name: str) -> None:
    expected = expected_of(board)["sensors"].get(name, "absent")
    clock = Ticking()
    sensor = SENSORS.load(name)(board / "root", clock)
    facts, readings = sensor.probe(), sensor.read()
    assert facts.name == sensor.name == name
    assert facts.scope in SCOPES
    assert facts.error_fraction is None or 0 < facts.error_fraction < 1
    if expected == "absent":
        assert (facts.reason[:8], facts.channels, readings, facts.cost_s) == ("absent: ", (), (), None)
        return
    assert {r.name: r.reason if r.value is None else pytest.approx(r.value) for r in readings} == expected
    assert {r.unit for r in readings} == {facts.unit}
    assert facts.channels in (tuple(expected), ())
    for reading in readings:
        assert (reading.value is None) == reading.reason.startswith(OUTCOMES)
        assert reading.value is None or reading.time_ns == clock.ns
        assert reading.name == name or reading.name.startswith(f"{name}/")
        assert str(board) not in reading.source + reading.reason
    assert bool(facts.reason) == all(reading.value is None for reading in readings)
    assert facts.reason or (facts.cost_s or 0.0) > 0


@over_boards
def test_conditions_hold_what_the_board_tells(board: Path, tmp_path: Path) -> None:
    expected = expected_of(board)
    root = board / "root"
    found = read_conditions(root, tmp_path, OsFileSystem(), SystemClock(), SensorSet(root))
    for name in ("governor", "load_average_1min", "available_memory_bytes"):
        assert getattr(found, name) == expected[name], name
    assert found.free_disk_bytes == pytest.approx(OsFileSystem().free_bytes(tmp_path), rel=0.1)
    assert found.clock_synchronised is None


@over_boards
def test_what_adds_up_never_falls(board: Path) -> None:
    for name in BUILTIN:
        sensor = SENSORS.load(name)(board / "root")
        first, second = sensor.read(), sensor.read()
        assert [r.name for r in first] == [r.name for r in second]
        for before, after in zip(first, second, strict=True):
            assert (before.value is None) == (after.value is None)
            if sensor.quantity in CUMULATIVE and before.value is not None and after.value is not None:
                assert after.value >= before.value


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def garble(path: Path) -> None:
    path.write_bytes(b"\xff\xfe no number \x00\x07" * 3)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def hide(path: Path) -> None:
    path.unlink()


def obstruct(path: Path) -> None:
    path.unlink()
    path.mkdir()


def bloat(path: Path) -> None:
    # Sparse: four gigabytes that take no room, and a minute to read whole.
    with path.open("wb") as file:
        file.truncate(4 << 30)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def exaggerate(path: Path) -> None:
    path.write_text("9" * 5000)


@over_boards
@pytest.mark.parametrize("spoil", [garble, empty, hide, obstruct, bloat, pipe, exaggerate])
def test_a_file_that_goes_bad_gives_a_reason(
    board: Path, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    root = copy_of(name_of(board), tmp_path)
    clock = Ticking()
    loaded = [SENSORS.load(name)(root, clock) for name in BUILTIN]
    before = {sensor.name: sensor.read() for sensor in loaded}
    for path in _files(root):
        spoil(path)
    clock.advance(100)
    tracemalloc.start()
    start = time.monotonic()
    after = {sensor.name: sensor.read() for sensor in loaded}
    elapsed, (_, peak_bytes) = time.monotonic() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert elapsed < 20
    assert peak_bytes < 4 << 20
    for name, readings in after.items():
        assert bool(readings) == bool(before[name]), name
        for reading in readings:
            assert reading.value is None, reading
            assert reading.reason.startswith(OUTCOMES), reading
            assert str(root) not in reading.source + reading.reason
            assert len(reading.reason) < 400


@over_boards
def test_a_forbidden_file_gives_a_reason(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board / "root"
    clock = Ticking()
    loaded = [SENSORS.load(name)(root, clock) for name in BUILTIN]
    before = {sensor.name: sensor.read() for sensor in loaded}

    def refuse(path: Any, *_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    clock.advance(100)
    for sensor in loaded:
        readings = sensor.read()
        assert bool(readings) == bool(before[sensor.name])
        for reading in readings:
            assert reading.value is None
            assert "Permission denied" in reading.reason
            assert str(root) not in reading.reason


def test_an_absent_sensor_costs_no_look_at_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    board = next(board for board in BOARDS if board.name == "virtual_machine")
    found = SensorSet(board / "root")
    assert found.read() == ()

    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"looked at {arguments}")

    for module, name in ((os, "open"), (os, "stat"), (os, "listdir"), (os, "scandir")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert found.read() == ()


def test_a_board_without_a_sensor_of_power_says_why() -> None:
    board = next(board for board in BOARDS if name_of(board) == "raspberry_pi_4")
    facts = [f for f in SensorSet(board / "root").probe() if f.quantity in ("power", "energy")]
    assert {f.name for f in facts} >= {"rapl", "pmic", "ina2xx", "ina3221", "jetson_power", "power_supply"}
    assert all(f.reason.startswith("absent: ") and f.cost_s is None for f in facts)


def test_a_sensor_of_a_set_is_found_by_its_name() -> None:
    found = SensorSet(BOARDS[0] / "root")
    assert found.driver("rapl").name == "rapl"
    with pytest.raises(NotFoundError, match="no sensor 'crystal'; known are thermal, "):
        found.driver("crystal")


def test_a_driver_that_reappears_is_found_by_the_next_probe(tmp_path: Path) -> None:
    root = copy_of("from_documentation/ina_hats", tmp_path)
    (root / "sys/class/hwmon").rename(root / "sys/class/later")
    sensor = SENSORS.load("ina2xx")(root)
    assert sensor.read() == ()
    (root / "sys/class/later").rename(root / "sys/class/hwmon")
    assert sensor.read() == ()
    assert not sensor.probe().reason
    assert len(sensor.read()) == 3


def test_trees_from_logs_and_from_documentation_are_counted_apart() -> None:
    assert len(RECORDED) >= 10
    assert len(FROM_DOCUMENTATION) >= 12
    assert len(RECORDED) + len(FROM_DOCUMENTATION) == len(BOARDS)
    for board in RECORDED:
        source = (board / "SOURCE").read_text()
        assert "Repository: https://github.com/" in source, board
        assert "Commit: " in source or "Issue: " in source, board
        assert "Licence: " in source, board
        assert "Recorded: " in source, board


def test_files_table_and_names_are_the_same() -> None:
    room = Path(sensors.__file__).parent
    files = {path.stem for path in room.rglob("*.py")} - SHARED
    table = {name: path.partition(":") for name, path in BUILTIN.items()}
    assert {module.rpartition(".")[2] for module, _, _ in table.values()} == files
    assert list(table) == [SENSORS.load(name).name for name in table]
    for name, (module, _, attribute) in table.items():
        assert module.rpartition(".")[2] == name
        assert getattr(importlib.import_module(module), attribute) is SENSORS.load(name)


def test_a_reader_that_is_overtaken_does_not_see_a_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of("from_documentation/nuc11", tmp_path)
    counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.write_text("1000000\n")
    found = SensorSet(root)
    found.read()
    has_read, overtaken = threading.Event(), threading.Event()
    close = os.close
    opened: dict[int, str] = {}
    system_open = os.open

    def remember(path: Any, *arguments: Any, **others: Any) -> int:
        descriptor = system_open(path, *arguments, **others)
        opened[descriptor] = str(path)
        return descriptor

    def slow_once(descriptor: int) -> None:
        close(descriptor)
        if opened.pop(descriptor, "") == str(counter) and not has_read.is_set():
            has_read.set()
            overtaken.wait(0.1)

    monkeypatch.setattr(os, "open", remember)
    monkeypatch.setattr(os, "close", slow_once)
    slow = threading.Thread(target=found.read)
    slow.start()
    assert has_read.wait(5)
    counter.write_text("2000000\n")
    found.read()
    overtaken.set()
    slow.join()
    energy = {r.name: r.value for r in found.read()}
    assert energy["rapl/0/package-0"] == pytest.approx(1.0)


def test_readings_cost_no_new_buffer(tmp_path: Path) -> None:
    (tmp_path / "temp").write_bytes(b"42000\n")
    assert read_head(tmp_path / "temp", 1 << 16) == b"42000\n"
    tracemalloc.start()
    try:
        assert read_head(tmp_path / "temp", 1 << 16) == b"42000\n"
        assert read_head(tmp_path / "temp", 2) == b"42"
        assert tracemalloc.get_traced_memory()[1] < 1 << 14
    finally:
        tracemalloc.stop()
