"""Many devices at once: one that never answers holds up no other, and a mistake ends them all."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.fleet import open_each
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError


class _EnoughError(Exception):
    pass


async def test_work_begins_on_a_board_while_another_one_has_not_answered(tmp_path: Path) -> None:
    seen = []

    async def work(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> None:
        seen.append((spec.name, isinstance(device, OpenDevice)))
        raise _EnoughError

    devices = [DeviceSpec.parse(f"hung=unix:{tmp_path}/hung"), DeviceSpec.parse("pi=sim:raspberry_pi_4")]
    # The system takes connections into its queue, and nobody ever accepts one.
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "hung"))
        hung.listen()
        with App.open(tmp_path / "home") as app, pytest.raises(_EnoughError):
            await open_each(app, devices, 0, work)
    # With a barrier the hung one would have been given up first.
    assert seen == [("pi", True)]


async def test_results_stand_in_the_order_of_the_devices_and_a_dead_one_has_its_reason(
    tmp_path: Path,
) -> None:
    async def work(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> str:
        return (
            f"{spec.name} {device.facts.profile if isinstance(device, OpenDevice) else type(device).__name__}"
        )

    devices = [DeviceSpec.parse(f"gone=unix:{tmp_path}/none"), DeviceSpec.parse("pi=sim:raspberry_pi_4")]
    with App.open(tmp_path / "home") as app:
        found = await open_each(app, devices, 0, work)
    assert found == ("gone UnavailableError", "pi raspberry_pi_4")


async def test_an_option_that_is_wrong_is_found_before_any_board_is_opened(tmp_path: Path) -> None:
    async def work(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> None:
        raise AssertionError(f"{spec.name} was opened")

    wrong = DeviceSpec(name="b", transport="simulated", address="nuc11", options=(("tempo", "1"),))
    with App.open(tmp_path / "home") as app, pytest.raises(InvalidInputError, match="no option 'tempo'"):
        await open_each(app, [DeviceSpec.parse("a=sim:nuc11"), wrong], 0, work)
