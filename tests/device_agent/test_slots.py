"""Slots: what serves is what was signed, byte for byte, or nothing is pointed to."""

from __future__ import annotations

import pytest
from edgeloop_agent.slots import Pointer
from edgeloop_agent.workspace import MANIFEST_NAME
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem

from scripts.heavy.install_scenario import Device


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
