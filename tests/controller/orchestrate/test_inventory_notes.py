"""What is remembered of whether devices are in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry, KnownAvailability
from edgeloop.orchestrate.inventory import AvailabilityNotes, keep_availability_quietly, known_availability
from edgeloop.store.known_availability import KnownAvailabilityStore
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.lease import OPEN, Availability, AvailabilityState

PI = DeviceSpec(name="../pi", transport="ssh", address="pi@a")
DRAINED = Availability(state=AvailabilityState.DRAINED, reason="new fan", drained_by="ann")


def test_what_was_said_last_stays_with_its_time_and_its_address(tmp_path: Path) -> None:
    store = KnownAvailabilityStore(tmp_path)
    assert store.get(PI) is None
    store.keep(PI, DRAINED, 100.0)
    assert store.get(PI) == KnownAvailability(address="ssh:pi@a", seen_s=100.0, availability=DRAINED)
    moved = DeviceSpec(name=PI.name, transport="ssh", address="pi@b")
    assert known_availability(tmp_path, (InventoryEntry(spec=moved),)) == {}


def test_a_damaged_file_is_named_and_the_next_answer_mends_it(tmp_path: Path) -> None:
    KnownAvailabilityStore(tmp_path).keep(PI, DRAINED, 100.0)
    next(tmp_path.rglob("*.json")).write_text("{}")
    with pytest.raises(InvalidInputError, match=r"availability of \.\./pi.*device list --live"):
        KnownAvailabilityStore(tmp_path).get(PI)
    keep_availability_quietly(tmp_path, PI, OPEN)
    assert known_availability(tmp_path, (InventoryEntry(spec=PI),))[PI.name].availability == OPEN


def test_agents_that_end_with_their_command_and_boards_that_were_always_in_use_leave_no_file(
    tmp_path: Path,
) -> None:
    board = DeviceSpec(name="lab/b1", transport="fleet", address="lab/b1")
    for transport in ("local", "simulated"):
        spec = DeviceSpec(name="own", transport=transport, address="nuc11")
        keep_availability_quietly(tmp_path, spec, DRAINED)
    keep_availability_quietly(tmp_path, board, OPEN)
    assert list(tmp_path.rglob("*.json")) == []
    keep_availability_quietly(tmp_path, board, DRAINED)
    keep_availability_quietly(tmp_path, board, OPEN)
    assert known_availability(tmp_path, (InventoryEntry(spec=board),))["lab/b1"].availability == OPEN


def test_a_disk_that_refuses_costs_only_the_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "availability").write_text("in the way")
    keep_availability_quietly(tmp_path, PI, DRAINED)
    assert "is not kept" in caplog.text


def test_a_watched_device_is_noted_when_it_changes(tmp_path: Path) -> None:
    notes = AvailabilityNotes(tmp_path, PI)
    written = []
    for found in (OPEN, OPEN, DRAINED, DRAINED):
        notes.hear(found)
        written.append(next(tmp_path.rglob("*.json")).stat().st_ino)
    assert written[0] == written[1] != written[2] == written[3]
    assert known_availability(tmp_path, (InventoryEntry(spec=PI),))[PI.name].availability == DRAINED
