"""Energy counters: wraps, parts and wholes, counters that were set back, rights."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.sensors.rapl import Rapl

from tests.device_agent.sensors.boards import Ticking, copy_of

RANGE_J = 262143.32885


def energy(sensor: Rapl, name: str = "rapl/0/package-0") -> float | None:
    return next(r.value for r in sensor.read() if r.name == name)


def counter_of(root: Path, zone: str = "intel-rapl:0") -> Path:
    return root / "sys/class/powercap" / zone / "energy_uj"


def test_an_energy_counter_goes_on_across_its_wrap(tmp_path: Path) -> None:
    root = copy_of("from_documentation/nuc11", tmp_path)
    sensor = Rapl(root)
    assert energy(sensor) == 0.0
    counter_of(root).write_text("262100000000\n")
    assert energy(sensor) == pytest.approx(100.0)
    assert sensor.wrap_count == 0
    # 43.32885 J up to the wrap, 6 J after it.
    counter_of(root).write_text("6000000\n")
    assert energy(sensor) == pytest.approx(149.32885)
    assert sensor.wrap_count == 1


def test_an_amd_processor_wraps_at_its_own_range(tmp_path: Path) -> None:
    root = copy_of("amd_strix_halo", tmp_path)
    sensor = Rapl(root)
    energy(sensor)
    # 65532.610987 - 64930.873566 up to the wrap.
    counter_of(root).write_text("1000000\n")
    assert energy(sensor) == pytest.approx(601.737421 + 1.0)
    assert energy(sensor, "rapl/0:0/core") == 0.0


def test_a_long_pause_may_hold_a_wrap_of_almost_the_whole_range(tmp_path: Path) -> None:
    root, clock = copy_of("from_documentation/nuc11", tmp_path), Ticking()
    sensor = Rapl(root, clock)
    counter_of(root).write_text("100000000\n")
    energy(sensor)
    clock.advance(3600)
    counter_of(root).write_text("50000000\n")
    assert energy(sensor) == pytest.approx(RANGE_J - 50)


def test_a_counter_that_was_set_back_is_no_wrap(tmp_path: Path) -> None:
    root, clock = copy_of("from_documentation/nuc11", tmp_path), Ticking()
    sensor = Rapl(root, clock)
    counter_of(root).write_text("100000000\n")
    energy(sensor)
    clock.advance(1)
    counter_of(root).write_text("0\n")
    for _ in range(2):
        reading = next(r for r in sensor.read() if r.name == "rapl/0/package-0")
        assert reading.value is None
        assert "not by a wrap" in reading.reason
        assert "start the measurement again" in reading.reason
    assert sensor.wrap_count == 0
    assert not sensor.probe().reason
    assert energy(sensor) is not None


def test_packages_are_told_from_their_parts_and_never_counted_twice() -> None:
    root = Path(__file__).parents[2] / "fixtures/sysfs/from_documentation"
    named = {
        board: [r.name for r in Rapl(root / board / "root").read()] for board in ("n100", "xeon_two_dies")
    }
    packages = {b: [n for n in names if re.fullmatch(r".*/package-\d+", n)] for b, names in named.items()}
    assert packages["n100"] == ["rapl/0/package-0"]
    assert packages["xeon_two_dies"] == [
        "rapl/0-die-0/package-0",
        "rapl/1-die-1/package-0",
        "rapl/2-die-0/package-1",
    ]
    assert not [name for name in named["n100"] if "mmio" in name]


def test_a_forbidden_counter_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of("from_documentation/nuc11", tmp_path)
    system_open = os.open

    def refuse(path: Any, *arguments: Any, **others: Any) -> int:
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied")
        return system_open(path, *arguments, **others)

    monkeypatch.setattr(os, "open", refuse)
    facts = Rapl(root).probe()
    assert facts.reason.startswith("failed: /sys/class/powercap/intel-rapl:0/energy_uj: Permission denied")
    assert "udev" in facts.reason


def test_a_negative_count_is_no_energy(tmp_path: Path) -> None:
    root = copy_of("from_documentation/nuc11", tmp_path)
    counter_of(root).write_text("-5\n")
    reading = Rapl(root).read()[0]
    assert reading.value is None
    assert reading.reason.startswith("unsupported: ")
