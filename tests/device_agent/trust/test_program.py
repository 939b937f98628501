"""The program that verifies releases: what it accepts it remembers, over every restart and at any power cut."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.trust.__main__ import answer
from edgeloop_agent.trust_files import TrustFiles
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.deployment import ReleaseBundle

from .attacks import Ground
from .forge import NAME

PLACE = Path("/state/releases")


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground(float(int(time.time())))


def ask(fs: SimulatedFileSystem, ground: Ground, header: dict[str, Any]) -> dict[str, Any]:
    # A new process each time: all that it knows is on the disk.
    return answer(TrustFiles(fs, PLACE), lambda: header, ground.now_s)


def accept(fs: SimulatedFileSystem, ground: Ground, bundle: ReleaseBundle) -> dict[str, Any]:
    return ask(fs, ground, {"command": "accept", "name": NAME, "bundle": to_json(bundle)})


def pinned(ground: Ground) -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    assert ask(fs, ground, {"command": "pin", "root": ground.forge.root()})["pinned_now"] is True
    return fs


def test_what_was_accepted_is_remembered_by_the_next_process(ground: Ground) -> None:
    fs = pinned(ground)
    assert accept(fs, ground, ground.releases[3])["digest"] == "3" * 64
    refused = accept(fs, ground, ground.releases[2])
    assert (refused["ok"], refused["kind"]) == (False, "AccessDeniedError")
    state = TrustFiles(fs, PLACE).read()
    assert state is not None
    assert [one.counter for one in state.floor.counters] == [3]
    assert accept(fs, ground, ground.releases[3])["ok"] is True


def test_what_was_answered_outlives_a_power_cut(ground: Ground) -> None:
    for seed in range(8):
        fs = pinned(ground)
        assert accept(fs, ground, ground.releases[3])["ok"] is True
        assert accept(fs.crash(seed), ground, ground.releases[2])["kind"] == "AccessDeniedError"


def test_a_power_cut_within_leaves_a_device_that_takes_the_same_bundle_again(ground: Ground) -> None:
    fs = pinned(ground)
    assert accept(fs, ground, ground.releases[2])["ok"] is True
    fs.settle()
    assert accept(fs, ground, ground.releases[3])["ok"] is True
    for left in fs.crash_states():
        assert accept(left, ground, ground.releases[1])["kind"] == "AccessDeniedError"
        assert accept(left, ground, ground.releases[3])["digest"] == "3" * 64


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ({"command": "accept", "name": NAME, "bundle": {}}, "InvalidInputError"),
        ({"command": "accept", "name": "../x", "bundle": None}, "InvalidInputError"),
        ({"command": "pin", "root": "{}"}, "InvalidInputError"),
        ({"command": "forget"}, "InvalidInputError"),
        ({}, "InvalidInputError"),
    ],
)
def test_what_cannot_be_read_is_an_answer_and_no_crash(
    ground: Ground, header: dict[str, Any], kind: str
) -> None:
    answered = ask(pinned(ground), ground, header)
    assert (answered["ok"], answered["kind"]) == (False, kind)


def test_a_second_root_is_not_pinned_over_the_first(ground: Ground) -> None:
    fs = pinned(ground)
    assert ask(fs, ground, {"command": "pin", "root": ground.forge.root()})["pinned_now"] is False
    other = ask(fs, ground, {"command": "pin", "root": ground.forge.root(2)})
    assert (other["ok"], other["kind"]) == (False, "StateError")
    fresh = ask(
        SimulatedFileSystem(), ground, {"command": "accept", "name": NAME, "bundle": to_json(ground.next)}
    )
    assert fresh["kind"] == "StateError"
