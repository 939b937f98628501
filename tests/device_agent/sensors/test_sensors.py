"""The conformance suite of sensors, over recorded trees; a new board is a folder with its expected values."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent import sensors
from edgeloop_agent.conditions import read_conditions
from edgeloop_agent.sensors import BUILTIN, SENSORS, SensorSet
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem

BOARDS = sorted((Path(__file__).parents[2] / "fixtures" / "sysfs").iterdir(), key=lambda path: path.name)
OUTCOMES = ("absent: ", "unsupported: ", "failed: ")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
@pytest.mark.parametrize("name", BUILTIN)
def test_a_sensor_reads_what_the_board_holds(board: Path, name: str) -> None:
    expected = json.loads((board / "expected.json").read_text())["sensors"][name]
    sensor = SENSORS.load(name)(board / "root")
    facts, readings = sensor.probe(), sensor.read()
    assert facts.name == sensor.name == name
    if expected == "absent":
        assert (facts.reason[:8], facts.channels, readings) == ("absent: ", (), ())
        return
    assert {r.name: r.reason if r.value is None else pytest.approx(r.value) for r in readings} == expected
    assert {r.unit for r in readings} == {facts.unit}
    for reading in readings:
        assert (reading.value is None) == reading.reason.startswith(OUTCOMES)
        assert str(board) not in reading.source + reading.reason
    assert bool(facts.reason) == all(reading.value is None for reading in readings)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_conditions_hold_what_the_board_tells(board: Path, tmp_path: Path) -> None:
    expected = json.loads((board / "expected.json").read_text())
    root = board / "root"
    found = read_conditions(root, tmp_path, OsFileSystem(), SystemClock(), SensorSet(root))
    for name in ("governor", "load_average_1min", "available_memory_bytes"):
        assert getattr(found, name) == expected[name], name
    assert found.free_disk_bytes == pytest.approx(OsFileSystem().free_bytes(tmp_path), rel=0.1)
    assert found.clock_synchronised is None


def test_files_table_and_names_are_the_same() -> None:
    files = {path.stem for path in Path(sensors.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(BUILTIN) == {SENSORS.load(name).name for name in BUILTIN}


def rapl_tree(tmp_path: Path) -> Path:
    shutil.copytree(next(b for b in BOARDS if b.name == "nuc11") / "root", tmp_path / "root")
    return tmp_path / "root"


def energy_of(readings: Any) -> float:
    return float(next(r.value for r in readings if r.name == "rapl/0/package-0"))


def test_an_energy_counter_goes_on_across_its_wrap(tmp_path: Path) -> None:
    root = rapl_tree(tmp_path)
    counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    sensor = SENSORS.load("rapl")(root)
    assert energy_of(sensor.read()) == 0.0
    counter.write_text("262100000000\n")
    assert energy_of(sensor.read()) == pytest.approx(100.0)
    # 43.32885 J up to the wrap, 6 J after it.
    counter.write_text("6000000\n")
    assert energy_of(sensor.read()) == pytest.approx(149.32885)


def test_a_reader_that_is_overtaken_does_not_see_a_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = rapl_tree(tmp_path)
    counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.write_text("1000000\n")
    sensors = SensorSet(root)
    sensors.read()
    has_read, overtaken = threading.Event(), threading.Event()
    read_text = Path.read_text

    def slow_once(self: Path, *args: Any, **kwargs: Any) -> str:
        text = read_text(self, *args, **kwargs)
        if self == counter and not has_read.is_set():
            has_read.set()
            overtaken.wait(0.1)
        return text

    monkeypatch.setattr(Path, "read_text", slow_once)
    slow = threading.Thread(target=sensors.read)
    slow.start()
    assert has_read.wait(5)
    counter.write_text("2000000\n")
    sensors.read()
    overtaken.set()
    slow.join()
    assert energy_of(sensors.read()) == pytest.approx(1.0)


def test_a_forbidden_counter_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = rapl_tree(tmp_path)

    def refuse(self: Path, *_: Any, **__: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return original(self)

    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", refuse)
    facts = SENSORS.load("rapl")(root).probe()
    assert facts.reason.startswith("failed: /sys/class/powercap/intel-rapl:0/energy_uj: Permission denied")
    assert "udev" in facts.reason
