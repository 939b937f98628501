"""The last facts of devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.known_facts import KnownFactsStore
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem

PI = DeviceSpec(name="../pi", transport="ssh", address="pi@a")
FACTS = Facts(
    device_id="d",
    name="d",
    hardware=Hardware(architecture="aarch64", logical_cores=4, memory_total_bytes=1 << 30),
    operating_system=OperatingSystem(name="n", kernel="k", python_version="3.11"),
)


def test_what_is_kept_is_known_with_its_time(tmp_path: Path) -> None:
    store = KnownFactsStore(tmp_path)
    assert store.get(PI) is None
    store.keep(PI, FACTS, 100.0)
    found = KnownFactsStore(tmp_path).get(PI)
    assert found is not None
    assert (found.facts, found.seen_s, found.age_s(160.0), found.age_s(50.0)) == (FACTS, 100.0, 60.0, 0.0)
    assert [path.parent.name for path in tmp_path.rglob("*.json")] == ["facts"]


def test_facts_of_another_address_are_those_of_another_board(tmp_path: Path) -> None:
    KnownFactsStore(tmp_path).keep(PI, FACTS, 100.0)
    moved = DeviceSpec(name=PI.name, transport="ssh", address="pi@b")
    assert KnownFactsStore(tmp_path).get(moved) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    KnownFactsStore(tmp_path).keep(PI, FACTS, 100.0)
    next(tmp_path.rglob("*.json")).write_text("{}")
    with pytest.raises(InvalidInputError, match="does not hold the facts"):
        KnownFactsStore(tmp_path).get(PI)
