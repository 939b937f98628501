"""Rollouts over power cuts: how one stands is the old or the new, and never nothing once it was saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.rollout import Rollout, RolloutDevice
from edgeloop.domain.rollout_plan import RolloutPlan
from edgeloop.store.rollouts import RolloutStore
from edgeloop_foundation.errors import NotFoundError
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem

HOME = Path("/home")


def rollout(rollout_id: str = "first") -> Rollout:
    device = RolloutDevice(spec=DeviceSpec(name="pi", transport="grpc", address="unix:/s"), wave=0)
    return Rollout(
        rollout_id=rollout_id,
        plan=RolloutPlan(release="demo"),
        artifact_digest="a" * 64,
        counter=1,
        devices=(device,),
        started_wall_s=1.0,
        since_wall_s=1.0,
    )


def test_a_saved_rollout_outlives_any_power_cut() -> None:
    fs = SimulatedFileSystem()
    RolloutStore(HOME, fs).save(rollout())
    for seed in range(20):
        assert RolloutStore(HOME, fs.crash(seed)).get("first") == rollout()
        fs = SimulatedFileSystem()
        RolloutStore(HOME, fs).save(rollout())


def test_a_power_cut_in_a_save_leaves_the_old_or_the_new() -> None:
    fs, new = SimulatedFileSystem(), replace(rollout(), reason="newer")
    RolloutStore(HOME, fs).save(rollout())
    fs.settle()
    RolloutStore(HOME, fs).save(new)
    found = [RolloutStore(HOME, left).get("first") for left in fs.crash_states()]
    assert {one.reason for one in found} == {"", "newer"}
    assert all(one in (rollout(), new) for one in found)


def test_a_first_save_that_was_cut_off_leaves_none_or_all_of_it() -> None:
    fs = SimulatedFileSystem()
    fs.make_directory(HOME)
    fs.settle()
    RolloutStore(HOME, fs).save(rollout())
    for left in fs.crash_states():
        store = RolloutStore(HOME, left)
        assert store.all() in ((), (rollout(),))
        # Whatever was left, it can be saved again.
        store.save(rollout("second"))
        assert store.get("second") == rollout("second")


def test_a_request_is_taken_once() -> None:
    store = RolloutStore(HOME, SimulatedFileSystem())
    with pytest.raises(NotFoundError):
        store.get("first")
    store.save(rollout())
    store.ask("first", "pause")
    assert store.take_request("first") == "pause"
    assert store.take_request("first") == ""
