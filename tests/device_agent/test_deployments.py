"""Power cuts in updates and rollbacks: the device serves the old or the new version, whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from edgeloop_foundation.errors import NotFoundError, StateError
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.deployment import DeploymentState

from scripts.heavy.install_scenario import BUNDLE, Device, install_crashes, trust_crashes


async def on_trial(device: Device) -> None:
    async with asyncio.timeout(30):
        while device.deployments.status("demo").state is not DeploymentState.TRIAL:  # noqa: ASYNC110 - as a client asks
            await asyncio.sleep(0.001)


def test_no_crash_state_is_half_installed() -> None:
    seen = [complaint for seed in range(3) for complaint in install_crashes(seed, again=True)]
    assert len(seen) > 3000
    assert [complaint for complaint in seen if complaint] == []


def test_no_crash_state_loses_the_trust_state() -> None:
    seen = [complaint for seed in range(40) for complaint in trust_crashes(seed)]
    assert len(seen) > 1000
    assert [complaint for complaint in seen if complaint] == []


def test_a_slot_whose_names_are_not_synced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The enumeration can fail: without the sync of directories it does."""
    genuine = SimulatedFileSystem.sync_directory

    def forgetful(self: SimulatedFileSystem, path: Path) -> None:
        if path.parent.name != "slots":
            genuine(self, path)

    monkeypatch.setattr(SimulatedFileSystem, "sync_directory", forgetful)
    with pytest.raises(Exception, match="is missing"):
        for _ in install_crashes(1):
            pass


async def test_an_unhealthy_version_goes_back_by_itself() -> None:
    device = Device(SimulatedFileSystem())
    old = device.release(1, b"old")
    assert await device.deploy() is DeploymentState.COMMITTED
    device.release(2, b"new")
    device.healthy = False
    assert await device.deploy() is DeploymentState.ROLLED_BACK
    assert device.slots.pointer("demo").current == old
    assert "not healthy" in device.deployments.status("demo").reason


async def test_a_cancelled_trial_goes_back_and_a_cancelled_end_stays() -> None:
    device = Device(SimulatedFileSystem())
    device.release(1, b"old")
    await device.deployments.deploy("demo", BUNDLE, 600.0)
    await on_trial(device)
    assert (await device.deployments.cancel("demo")).state is DeploymentState.ROLLED_BACK
    assert device.slots.pointer("demo").current == ""
    assert (await device.deployments.cancel("demo")).state is DeploymentState.ROLLED_BACK
    with pytest.raises(NotFoundError):
        await device.deployments.cancel("other")


async def test_only_what_has_a_version_before_goes_back() -> None:
    device = Device(SimulatedFileSystem())
    old = device.release(1, b"old")
    await device.deploy()
    with pytest.raises(StateError, match="no version to go back to"):
        await device.deployments.rollback("demo")
    device.release(2, b"new")
    await device.deploy()
    status = await device.deployments.rollback("demo")
    assert (status.state, status.current_counter) == (DeploymentState.ROLLED_BACK, 1)
    assert device.slots.pointer("demo").current == old


async def test_a_trial_that_the_agent_does_not_survive_is_rolled_back() -> None:
    fs = SimulatedFileSystem()
    device = Device(fs)
    device.release(1, b"old")
    await device.deployments.deploy("demo", BUNDLE, 600.0)
    await on_trial(device)
    await device.deployments.stop()
    states = []
    for _ in range(4):
        again = Device(fs)
        again.deployments.open()
        states.append(again.slots.record("demo").state)
    assert states == [DeploymentState.TRIAL] * 3 + [DeploymentState.ROLLED_BACK]
