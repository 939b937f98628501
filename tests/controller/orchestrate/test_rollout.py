"""Rollouts to simulated boards over the real wire: bad releases are stopped and taken back, the rest untouched."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.rollout import DevicePhase, Rollout, RolloutState
from edgeloop.domain.rollout_plan import Group, RolloutGate, RolloutPlan, Wave, Window
from edgeloop.interfaces.shipping import Shipping
from edgeloop.orchestrate.deploy import repository
from edgeloop.orchestrate.rollout import driving
from edgeloop.orchestrate.simulated_fleet import FleetRequest, select_boards, start_fleet
from edgeloop.orchestrate.single import artifact_of
from edgeloop.store.rollouts import RolloutStore
from edgeloop_foundation.errors import AlreadyExistsError, BusyError, StateError
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_protocol.types.artifact import FileEntry
from onnx import numpy_helper

from tests.controller.orchestrate.test_compare import network

P, S = DevicePhase, RolloutState
CRASHING = 3
FAULTS = """
apiVersion = "edgeloop/v1"
kind = "Faults"
[[fault]]
kind = "crash"
boards = "nuc11-0003"
method = "AttestDeployment"
after_requests = 4
off_s = 1.0
"""


class FastClock(SystemClock):
    """The wall clock, where waiting takes no time; what was waited is told."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        self.ahead_s += seconds
        await asyncio.sleep(0)


class Notes(SilentListener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Ground:
    """A controller with four boards and four artifacts."""

    home: Path
    boards: tuple[DeviceSpec, ...]
    artifacts: dict[str, str]
    clock: FastClock = field(default_factory=FastClock)
    notes: Notes = field(default_factory=Notes)

    @property
    def shipping(self) -> Shipping:
        return Shipping(lambda: App.open(self.home), self.notes, self.clock)

    def signed(self, artifact: str) -> None:
        self.shipping.sign(self.artifacts[artifact], "demo")

    def lay_out(self, plan: RolloutPlan, boards: tuple[int, ...]) -> Rollout:
        return self.shipping.lay_out(plan, tuple(self.boards[number] for number in boards))

    def serving(self, *boards: int) -> list[str]:
        """Return which artifact each board serves."""
        names = {digest: name for name, digest in self.artifacts.items()}
        found = self.shipping.deployments([self.boards[number] for number in boards])
        return [names[one.statuses[0].current_digest] for one in found]

    def audited(self, rollout_id: str) -> list[tuple[str, str]]:
        lines = map(json.loads, (self.home / "audit.jsonl").read_text().splitlines())
        return [
            (one["action"], one["subject"])
            for one in lines
            if rollout_id in (one["subject"], *one["action"].split())
        ]


PLAN = RolloutPlan(
    release="demo",
    trial_s=0.0,
    watch_s=3600.0,
    watch_every_s=1800.0,
    gate=RolloutGate(seconds=0.6),
    waves=(Wave(name="canary", count=1), Wave(name="rest", rest=True)),
)


def phases(rollout: Rollout) -> list[DevicePhase]:
    return [device.phase for device in rollout.devices]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("rollout")
    (home / "faults.toml").write_text(FAULTS)
    request = FleetRequest(name="t", count=4, mix="nuc11:1", seed=3, faults=home / "faults.toml")
    with start_fleet(home, request, detached=False), App.open(home) as app:
        repository(home).create()
        found = {}
        for name, layers in (("first", 20), ("same", 20), ("slower", 22)):
            (home / name).mkdir()
            path = network(home / name / f"{name}.onnx", layers)
            if name == "same":
                other_weights(path)
            _, found[name] = asyncio.run(artifact_of(app, path, "", (), 0, SilentListener()))
        found["wrong"] = with_other_answers(app, found["first"], home)
        assert len(set(found.values())) == 4
        yield Ground(home, select_boards(home, "fleet:t"), found)


def other_weights(path: str) -> None:
    """Change what a model computes and not what it costs."""
    model = onnx.load(path)
    weights = numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights * np.float32(0.5), "w0"))
    onnx.save(model, path)


def with_other_answers(app: App, digest: str, home: Path) -> str:
    """Keep an artifact whose golden pack says that the host computed something else."""
    manifest = app.artifacts.manifest(digest)
    files = {entry.name: app.artifacts.blob(entry.digest) for entry in manifest.files}
    pack = dict(np.load(io.BytesIO(files[manifest.golden_file].read_bytes())))
    pack = {name: values * 1.5 if name.startswith("host/") else values for name, values in pack.items()}
    files[manifest.golden_file] = home / "wrong.npz"
    np.savez(files[manifest.golden_file], **pack)
    entries = tuple(
        FileEntry(
            name=name, digest=hashlib.sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size
        )
        for name, path in sorted(files.items())
    )
    return app.artifacts.put(replace(manifest, files=entries), files)


@pytest.mark.timeout(300)
def test_good_releases_arrive_and_bad_ones_are_taken_back(ground: Ground) -> None:
    """One walk, because each step builds on what the one before left on the boards."""
    first_release_waits_for_approval(ground)
    equal_release_passes_the_gate(ground)
    slower_canary_is_taken_back(ground)
    two_groups_with_wrong_outputs_stop_it_once(ground)
    canary_that_crashes_after_an_hour_is_taken_back(ground)
    what_another_process_drives_is_asked(ground)


def first_release_waits_for_approval(ground: Ground) -> None:
    ground.signed("first")
    plan = replace(PLAN, watch_s=0.0, waves=(PLAN.waves[0], replace(PLAN.waves[1], approve=True)))
    waiting = ground.shipping.start(ground.lay_out(plan, (0, 1, 2, CRASHING)))
    assert (waiting.state, phases(waiting)) == (S.AWAITING_APPROVAL, [P.HELD, *[P.WAITING] * 3])
    assert "nothing served here before" in waiting.devices[0].gate[0]
    with pytest.raises(AlreadyExistsError, match="awaiting approval"):
        ground.shipping.start(ground.lay_out(plan, (0,)))
    done = ground.shipping.approve("demo")
    assert (done.state, phases(done)) == (S.COMPLETED, [P.HELD] * 4)
    assert ground.serving(0, 1, 2, CRASHING) == ["first"] * 4


def equal_release_passes_the_gate(ground: Ground) -> None:
    ground.signed("same")
    here = ground.clock.wall_s()
    opens = Window(
        begins=f"{(int(here // 3600) + 3) % 24:02}:00", ends=f"{(int(here // 3600) + 9) % 24:02}:00"
    )
    plan = replace(PLAN, watch_s=60.0, windows=(opens,), waves=(PLAN.waves[0],))
    done = ground.shipping.start(ground.lay_out(plan, (0,)))
    assert done.state is S.COMPLETED, ground.notes.said
    assert phases(done) == [P.HELD]
    assert {s.partition(":")[0]: s.rpartition("(")[2] for s in done.devices[0].gate} == {
        "median": "passed)",
        "latency_p95": "passed)",
        "energy": "passed)",
        "memory": "passed)",
        "parity": "passed)",
    }
    # It was begun no earlier than the window opened, by a clock that was waited on for hours.
    assert done.since_wall_s - done.started_wall_s > 3600.0
    assert ground.serving(0) == ["same"]


def slower_canary_is_taken_back(ground: Ground) -> None:
    ground.signed("slower")
    done = ground.shipping.start(ground.lay_out(PLAN, (1, 2)))
    assert (done.state, phases(done)) == (S.ROLLED_BACK, [P.BACK, P.WAITING]), ground.notes.said
    failed = [sentence for sentence in done.devices[0].gate if sentence.endswith("(failed)")]
    assert any(sentence.startswith("latency_p95: ") and "slower" in sentence for sentence in failed)
    assert "1 of 1 failed" in done.reason
    assert any("strike 2 of 2" in note for note in ground.notes.said)
    assert ground.serving(1, 2) == ["first", "first"]


def two_groups_with_wrong_outputs_stop_it_once(ground: Ground) -> None:
    ground.signed("wrong")
    names = [board.name for board in ground.boards]
    plan = replace(
        PLAN,
        groups=(Group(name="east", devices=(names[1],)), Group(name="west", devices=(names[2],))),
        waves=(Wave(name="both", groups=("east", "west")), Wave(rest=True)),
    )
    done = ground.shipping.start(ground.lay_out(plan, (1, 2, 0)))
    assert (done.state, phases(done)) == (S.ROLLED_BACK, [P.REFUSED, P.REFUSED, P.WAITING])
    assert all("outputs here differ from host" in device.reason for device in done.devices[:2])
    audited = ground.audited(done.rollout_id)
    assert audited.count(("rollout stop", done.rollout_id)) == 1
    assert names[0] not in {subject for _, subject in audited}
    assert ground.serving(1, 2, 0) == ["first", "first", "same"]


def canary_that_crashes_after_an_hour_is_taken_back(ground: Ground) -> None:
    """The board goes down in its third look of this rollout, an hour after the watch began, and comes up again."""
    ground.signed("same")
    # One strike: whether it is up again at the next look depends on the machine that this runs on.
    plan = replace(PLAN, watch_s=7200.0, strikes=1)
    began = ground.clock.ahead_s
    done = ground.shipping.start(ground.lay_out(plan, (CRASHING, 1)))
    assert (done.state, phases(done)) == (S.ROLLED_BACK, [P.BACK, P.WAITING]), ground.notes.said
    assert ground.clock.ahead_s - began >= 3600.0
    assert "1 of 1 failed" in done.reason
    assert ground.serving(CRASHING, 1) == ["first", "first"]


def what_another_process_drives_is_asked(ground: Ground) -> None:
    """A rollout that was killed after it began goes on; one that is driven elsewhere hears what it is asked."""
    plan = replace(PLAN, watch_s=0.0, waves=(replace(PLAN.waves[1], approve=True),))
    laid_out = ground.shipping.start(ground.lay_out(plan, (2,)))
    store = RolloutStore(ground.home)
    with driving(store, laid_out.rollout_id):
        with pytest.raises(BusyError, match="another process"):
            ground.shipping.approve(laid_out.rollout_id)
        assert ground.shipping.abort(laid_out.rollout_id).state is S.AWAITING_APPROVAL
    killed = replace(
        store.get(laid_out.rollout_id),
        state=S.RUNNING,
        approved_wave=0,
        devices=(replace(laid_out.devices[0], phase=P.INSTALLING, before_digest=ground.artifacts["first"]),),
    )
    store.save(killed)
    assert ground.shipping.resume(killed.rollout_id).state is S.ROLLED_BACK
    with pytest.raises(StateError, match="rolled back"):
        ground.shipping.resume(killed.rollout_id)
    assert ground.serving(2) == ["first"]
