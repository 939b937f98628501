"""A board that is watched, goes away and comes back: a real agent at a Unix socket."""

from __future__ import annotations

from pathlib import Path

from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.interfaces.present_watch import sight_json, sight_line
from edgeloop.orchestrate.watch import watch_device
from edgeloop_agent.listen import UnixListener

from tests.device_agent.conftest import running_agent


async def test_a_board_that_vanishes_is_said_and_found_again(tmp_path: Path) -> None:
    listener = UnixListener(path=tmp_path / "a.sock")
    spec = DeviceSpec.parse(f"pi=unix:{tmp_path / 'a.sock'}")
    with App.open(tmp_path / "home") as app:
        sights = watch_device(app, spec, interval_s=0.01)
        async with running_agent(tmp_path / "state", listener=listener):
            first = await anext(sights)
        assert first.vitals is not None
        gone = await anext(sights)
        assert gone.vitals is None
        assert gone.reason
        still = await anext(sights)
        assert still.away_s > 0
        async with running_agent(tmp_path / "state", listener=listener):
            back = await anext(sights)
            again = await anext(sights)
            await sights.aclose()
    assert back.vitals is not None
    assert back.away_s >= still.away_s
    assert (again.away_s, again.vitals is not None) == (0.0, True)
    assert "pi does not answer for" in sight_line(gone)
    assert "back after" in sight_line(back)
    assert '"vitals": null' in sight_json(gone)
    assert "\n" not in sight_json(back)


async def test_a_watch_ends_after_its_count(tmp_path: Path) -> None:
    spec = DeviceSpec.parse(f"pi=unix:{tmp_path / 'none.sock'}")
    with App.open(tmp_path / "home") as app:
        sights = [sight async for sight in watch_device(app, spec, interval_s=0.01, count=2)]
    assert [sight.vitals for sight in sights] == [None, None]
