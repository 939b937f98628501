"""Rollouts as the daemon handles them: the verbs of the command line, written down, driven on, gone on with later."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.domain.rollout import DevicePhase, Rollout, RolloutDevice, RolloutState
from edgeloop.domain.rollout_plan import RolloutPlan, Wave
from edgeloop.orchestrate.daemon import Daemon, RolloutDesk
from edgeloop.orchestrate.rollout import driving
from edgeloop.store.audit import AuditLog
from edgeloop.store.rollouts import RolloutStore
from edgeloop.store.serve_home import ServeHome
from edgeloop_foundation.errors import BusyError, InvalidInputError, StateError

S = RolloutState


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App.open(tmp_path)


def save(app: App, state: RolloutState) -> RolloutStore:
    """Keep a rollout to a device that nobody reaches, which never got it."""
    spec = DeviceSpec(name="far", transport="grpc", address="unix:/nowhere/a.sock")
    now_s = time.time()
    store = RolloutStore(app.state_directory)
    store.save(
        Rollout(
            rollout_id="demo-1",
            plan=RolloutPlan(release="demo", waves=(Wave(rest=True),)),
            artifact_digest="a" * 64,
            counter=1,
            devices=(RolloutDevice(spec=spec, wave=0, phase=DevicePhase.WAITING),),
            state=state,
            started_wall_s=now_s,
            since_wall_s=now_s,
        )
    )
    return store


async def until_driven(desk: RolloutDesk) -> None:
    ends = time.monotonic() + 60
    while desk.driven():
        assert time.monotonic() < ends, "it is still driven"
        await asyncio.sleep(0.02)


async def test_what_is_aborted_is_taken_back_by_the_daemon_itself(app: App) -> None:
    store, desk = save(app, S.PAUSED), RolloutDesk(app, ServeHome(app.state_directory))
    asked = await desk.act("demo", "abort", "operator token")
    assert asked.state is S.ROLLING_BACK
    assert desk.driven() == ("demo-1",)
    assert ServeHome(app.state_directory).driven() == ("demo-1",)
    await until_driven(desk)
    assert store.get("demo").state is S.ROLLED_BACK
    assert ServeHome(app.state_directory).driven() == ()
    entries = AuditLog(app.state_directory / "audit.jsonl", time.time).entries(limit=10)
    asked_line = next(entry for entry in entries if entry["action"] == "asked: rollout abort")
    assert asked_line["details"] == {"by": "operator token", "through": "edgeloop serve"}


async def test_a_rollout_goes_on_with_the_next_daemon(app: App) -> None:
    store = save(app, S.ROLLING_BACK)
    ServeHome(app.state_directory).keep_driven(["demo-1", "gone-2"])
    desk = RolloutDesk(app, ServeHome(app.state_directory))
    await desk.go_on()
    await until_driven(desk)
    assert store.get("demo").state is S.ROLLED_BACK


async def test_why_it_is_not_driven_on_is_told(app: App) -> None:
    save(app, S.PAUSED)
    desk = RolloutDesk(app, ServeHome(app.state_directory))
    await desk.act("demo", "resume", "operator token")
    await until_driven(desk)
    assert desk.problems["demo-1"], "there are no releases here"
    paused = await desk.act("demo", "pause", "operator token")
    assert paused.state is S.PAUSED


async def test_what_cannot_happen_is_refused(app: App) -> None:
    store, desk = save(app, S.COMPLETED), RolloutDesk(app, ServeHome(app.state_directory))
    for verb in ("pause", "resume", "abort", "keep", "approve"):
        with pytest.raises(StateError):
            await desk.act("demo", verb, "x")
    with pytest.raises(InvalidInputError, match="a rollout knows pause"):
        await desk.act("demo", "supersede", "x")
    save(app, S.AWAITING_APPROVAL)
    with driving(store, "demo-1"), pytest.raises(BusyError):
        await desk.act("demo", "approve", "x")
    assert not (app.state_directory / "audit.jsonl").exists(), "nothing was done, nothing is written"


async def test_the_daemon_follows_the_inventory_and_ends_when_asked(app: App) -> None:
    entries = [InventoryEntry(spec=DeviceSpec(name="here", transport="local"))]
    daemon, stopping = Daemon(app, lambda: tuple(entries)), asyncio.Event()
    running = asyncio.create_task(daemon.run(stopping))
    ends = time.monotonic() + 60
    while not daemon.watch.looks():
        assert time.monotonic() < ends, "it follows nobody"
        await asyncio.sleep(0.01)
    assert [look.name for look in daemon.watch.looks()] == ["here"]
    stopping.set()
    await asyncio.wait_for(running, 60)
    assert daemon.watch.looks() == ()
    assert daemon.audit_problem() == ""
    (app.state_directory / "audit.jsonl").write_text("{}\n")
    assert "line 1" in daemon.audit_problem()
