"""Power cuts in updates and rollbacks: the device serves the old or the new version, whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop_agent.slots import SlotRecord
from edgeloop_foundation.errors import AccessDeniedError, NotFoundError, StateError
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.deployment import OVER, DeploymentState, ModelLimits

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


async def until_over(device: Device) -> DeploymentState:
    async with asyncio.timeout(60):
        while device.deployments.active or (state := device.slots.record("demo").state) not in OVER:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return state


EIO = OSError(errno.EIO, os.strerror(errno.EIO))


async def update_with_an_error(at: int) -> DeploymentState | None:
    """Update with one failing operation; return how a second try without a restart ends, None when none failed."""
    fs = SimulatedFileSystem()
    device = Device(fs)
    old = device.release(1, b"old")
    await device.deploy()
    new = device.release(2, b"new")
    fails_at = fs.operation_count + at
    fs.fail_at(fails_at, EIO)
    with contextlib.suppress(OSError):
        await device.deployments.deploy("demo", BUNDLE, 0.0)
    await until_over(device)
    assert device.slots.pointer("demo").current in (old, new)
    return await device.deploy() if fs.operation_count > fails_at else None


async def test_an_error_of_the_disk_at_any_step_needs_no_restart() -> None:
    """What broke off ends by itself, and the next try installs."""
    ends = await asyncio.gather(*map(update_with_an_error, range(120)))
    reached = [state for state in ends if state is not None]
    assert 40 < len(reached) < len(ends)
    assert set(reached) == {DeploymentState.COMMITTED}


async def rollback_with_an_error(at: int) -> bool:
    """Go back with one failing operation, again if need be without a restart; return whether it was reached."""
    fs = SimulatedFileSystem()
    device = Device(fs)
    old = device.release(1, b"old")
    await device.deploy()
    device.release(2, b"new")
    await device.deploy()
    fails_at = fs.operation_count + at
    fs.fail_at(fails_at, EIO)
    with contextlib.suppress(OSError):
        await device.deployments.rollback("demo")
    await until_over(device)
    if device.slots.record("demo").state is not DeploymentState.ROLLED_BACK:
        await device.deployments.rollback("demo")
    assert device.slots.pointer("demo").current == old
    return fs.operation_count > fails_at


async def test_a_rollback_that_an_error_broke_off_ends_without_a_restart() -> None:
    reached = await asyncio.gather(*map(rollback_with_an_error, range(60)))
    assert 10 < sum(reached) < len(reached)


async def update_whose_caller_goes_away(after_s: float) -> bool:
    """Ask for an update, go away, and return whether that was before the answer."""
    device = Device(SimulatedFileSystem())
    device.release(1, b"old")
    await device.deploy()
    new = device.release(2, b"new")
    asking = asyncio.create_task(device.deployments.deploy("demo", BUNDLE, 0.0))
    await asyncio.sleep(after_s)
    gone = asking.cancel()
    await asyncio.wait({asking})
    async with asyncio.timeout(30):
        while device.slots.pointer("demo").current != new:  # noqa: ASYNC110 - as a client asks
            await asyncio.sleep(0.001)
    assert await until_over(device) is DeploymentState.COMMITTED
    asking = asyncio.create_task(device.deployments.rollback("demo"))
    await asyncio.sleep(after_s)
    asking.cancel()
    newest = device.release(3, b"newest")
    assert await device.deploy() is DeploymentState.COMMITTED
    assert device.slots.pointer("demo").current == newest
    return gone


async def test_what_was_asked_for_comes_to_its_end_when_who_asked_goes_away() -> None:
    gone = [await update_whose_caller_goes_away(0.0002 * moment) for moment in range(40)]
    assert any(gone)


async def test_a_release_for_another_device_is_refused_and_what_serves_goes_on() -> None:
    device = Device(SimulatedFileSystem())
    old = device.release(1, b"one")
    assert await device.deploy() is DeploymentState.COMMITTED
    device.release(2, b"two")
    accepted = device.releases["demo"]
    device.releases["demo"] = replace(accepted, terms=replace(accepted.terms, devices=("another",)))
    with pytest.raises(AccessDeniedError, match="another"):
        await device.deploy()
    assert device.slots.pointer("demo").current == old
    assert device.deployments.status("demo").state is DeploymentState.FAILED


async def test_what_was_signed_goes_with_the_slot_there_and_back() -> None:
    device = Device(SimulatedFileSystem())
    device.release(1, b"old")
    first = ModelLimits(isolation="seccomp", process_count_max=5, step_s_max=7)
    accepted = device.releases["demo"]
    terms = replace(accepted.terms, schema_version=2, isolation="seccomp", process_count_max=5, step_s_max=7)
    device.releases["demo"] = replace(accepted, terms=terms)
    await device.deploy()
    assert device.slots.record("demo").limits == device.slots.pointer("demo").current_limits == first
    device.release(2, b"new")
    await device.deploy()
    pointer = device.slots.pointer("demo")
    assert (pointer.current_limits, pointer.previous_limits) == (ModelLimits(), first)
    await device.deployments.rollback("demo")
    assert device.slots.pointer("demo").current_limits == first

    async def look(record: SlotRecord, _path: Path, _artifact: Artifact) -> ModelLimits:
        return record.limits

    assert await device.deployments.inspect("demo", look) == first
