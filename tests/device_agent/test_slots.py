"""Slots: what serves is what was signed, byte for byte, or nothing is pointed to."""

from __future__ import annotations

import struct

import pytest
from edgeloop_agent.slots import Pointer, Slot
from edgeloop_agent.workspace import MANIFEST_NAME
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.packed import MAGIC, TABLE
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, Expansion, FileEntry

from scripts.heavy.install_scenario import Device

from .conftest import digest

CONTENT = bytes([5, 250] * 50)
PACKED = MAGIC + struct.pack("<BQ", TABLE, 100) + bytes([5, 250]).ljust(16, b"\0") + bytes([0x01]) * 50


def staged() -> tuple[Device, SimulatedFileSystem, str]:
    fs = SimulatedFileSystem()
    device = Device(fs)
    slot = device.release(1, b"weights")
    digest = device.releases["demo"].digest
    device.slots.stage("demo", slot, device.workspace.read_manifest(digest))
    return device, fs, slot


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", MANIFEST_NAME])
@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "gone"])
def test_a_slot_that_is_not_what_was_signed_never_serves(name: str, damage: str) -> None:
    device, fs, slot = staged()
    assert device.slots.verify("demo", slot).model_file == "model.onnx"
    path = device.slots.directory("demo", slot) / name
    data = fs.read(path)
    fs.remove(path)
    if damage != "gone":
        file = fs.create(path)
        file.write(
            {"changed": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "longer": data + b"\n"}[damage]
        )
        file.close()
    with pytest.raises(CorruptDataError):
        device.slots.point("demo", Pointer(current=slot))
    assert device.slots.pointer("demo").current == ""


def test_a_whole_slot_serves() -> None:
    device, _, slot = staged()
    device.slots.point("demo", Pointer(current=slot))
    assert device.slots.pointer("demo").current == slot


def put_packed(
    made: bytes = CONTENT, size_bytes: int = len(CONTENT)
) -> tuple[Device, SimulatedFileSystem, str]:
    fs = SimulatedFileSystem()
    device = Device(fs)
    artifact = Artifact(
        format="onnx",
        label="packed",
        files=(FileEntry(name="model.packed", digest=device.store.put(PACKED), size_bytes=len(PACKED)),),
        expansions=(
            Expansion(
                made=FileEntry(name="model.onnx", digest=digest(made), size_bytes=size_bytes),
                source="model.packed",
            ),
        ),
        model_file="model.onnx",
        source_digest="0" * 64,
    )
    slot = Slot(counter=1, digest=device.store.put(to_canonical_json(artifact))).text
    fs.settle()
    return device, fs, slot


def stage_packed(device: Device, slot: str) -> None:
    device.slots.stage("demo", slot, device.workspace.read_manifest(Slot.parse(slot).digest))


def test_what_travels_packed_is_made_in_the_slot_and_serves() -> None:
    device, fs, slot = put_packed()
    stage_packed(device, slot)
    device.slots.point("demo", Pointer(current=slot))
    directory = device.slots.directory("demo", slot)
    assert fs.read(directory / device.slots.verify("demo", slot).model_file) == CONTENT
    assert fs.read(directory / "model.packed") == PACKED


@pytest.mark.parametrize("name", ["model.onnx", "model.packed"])
@pytest.mark.parametrize("left", [None, CONTENT[:-1], CONTENT[:-1] + b"x", PACKED + b"x"])
def test_a_slot_is_whole_only_with_the_packed_file_and_what_is_made_of_it(
    name: str, left: bytes | None
) -> None:
    device, fs, slot = put_packed()
    stage_packed(device, slot)
    path = device.slots.directory("demo", slot) / name
    fs.remove(path)
    if left is not None:
        file = fs.create(path)
        file.write(left)
        file.close()
    with pytest.raises(CorruptDataError):
        device.slots.point("demo", Pointer(current=slot))
    assert device.slots.pointer("demo").current == ""


@pytest.mark.parametrize(("made", "size_bytes"), [(b"another", 100), (CONTENT, 99), (CONTENT, 101)])
def test_a_packed_file_that_gives_something_else_is_not_staged(made: bytes, size_bytes: int) -> None:
    device, _, slot = put_packed(made, size_bytes)
    with pytest.raises(CorruptDataError):
        stage_packed(device, slot)
    with pytest.raises(CorruptDataError):
        device.slots.point("demo", Pointer(current=slot))


def test_no_power_cut_leaves_a_pointer_to_a_file_that_was_not_made() -> None:
    device, fs, slot = put_packed()
    stage_packed(device, slot)
    device.slots.point("demo", Pointer(current=slot))
    found = set()
    for left in fs.crash_states():
        slots = Device(left).slots
        current = slots.pointer("demo").current
        found.add(current)
        if current:
            slots.verify("demo", current)
    assert found == {"", slot}
