"""Watching a fleet over the real wire: one dead device delays nobody, who is looked at is asked more often."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.orchestrate.collector import Collector, CollectSettings
from edgeloop.orchestrate.daemon import with_fleets
from edgeloop.orchestrate.fleet_watch import FleetWatch, LookState
from edgeloop.orchestrate.simulated_fleet import FleetRequest, start_fleet
from edgeloop.transport.base import connect

WAIT_S = 60.0


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    # A socket's path has at most 107 bytes, and pytest's directories grow with the names of tests.
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        request = FleetRequest(name="t", count=2, mix="raspberry_pi_5:1")
        with start_fleet(home, request, detached=False), App.open(home) as opened:
            yield opened


async def until(done: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < ends, what
        await asyncio.sleep(0.02)


async def test_a_fleet_is_seen_though_devices_hang(app: App) -> None:
    boards = with_fleets(app.state_directory, ())
    assert [entry.groups for entry in boards] == [("t",), ("t",)]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        hanging = [
            InventoryEntry(
                spec=DeviceSpec(
                    name=f"dead-{n}", transport="grpc", address=f"127.0.0.1:{silent.getsockname()[1]}"
                )
            )
            for n in range(80)
        ]
        here = InventoryEntry(spec=DeviceSpec(name="here", transport="local"))
        watch = FleetWatch(app, interval_s=600.0, wanted_interval_s=0.05)
        try:
            await watch.follow((*hanging, here, *boards))
            for entry in boards:
                await until(lambda e=entry: watch.look(e.name).state is LookState.ANSWERS, entry.name)
            assert not any(watch.look(e.name).state is LookState.ANSWERS for e in hanging)
            assert watch.look("here").state is LookState.ON_USE
            await _wanted_ones_are_asked_more_often(watch, boards)
            await _a_lease_is_seen(app, watch, boards[0])
        finally:
            await watch.stop()
    assert watch.looks() == ()


async def _wanted_ones_are_asked_more_often(watch: FleetWatch, boards: tuple[InventoryEntry, ...]) -> None:
    wanted, other = boards[0].name, boards[1].name
    before = {name: watch.look(name).sequence for name in (wanted, other)}
    watch.want([wanted, "nobody"])
    for _ in range(5):
        assert await watch.changed([wanted], watch.look(wanted).sequence, WAIT_S)
    assert watch.look(other).sequence == before[other]
    assert len(watch.history(wanted)) >= 5
    assert watch.history(wanted)[-1].temperature_celsius is not None
    assert not await watch.changed([other], watch.sequence, 0.01), "nothing is new of who was not asked"


async def _a_lease_is_seen(app: App, watch: FleetWatch, entry: InventoryEntry) -> None:
    def holders() -> list[str]:
        watch.want([entry.name])
        look = watch.look(entry.name)
        assert look is not None
        return [lease.holder for lease in look.leases]

    async with connect(entry.spec, app.state_directory) as client, client.lease("somebody"):
        await until(lambda: holders() == ["somebody"], "the lease is seen")
    await until(lambda: holders() == [], "its end is seen")


async def test_a_device_that_is_woken_as_the_watch_ends_does_not_keep_it(app: App) -> None:
    board, *_ = with_fleets(app.state_directory, ())
    watch = FleetWatch(app, interval_s=600.0)
    try:
        await watch.follow([board])
        await until(lambda: watch.look(board.name).state is LookState.ANSWERS, "it answers and is left alone")
        watch.want([board.name])
    finally:
        stopping = asyncio.create_task(watch.stop())
        await asyncio.wait({stopping}, timeout=WAIT_S / 2)
    assert stopping.done(), "who watched it was woken and told to end in one turn"


async def test_an_edited_inventory_is_followed_and_connections_are_kept(app: App) -> None:
    boards = with_fleets(app.state_directory, ())
    watch = FleetWatch(app, interval_s=600.0)
    try:
        await watch.follow(boards[:1])
        name = boards[0].name
        await until(lambda: watch.opened(name) is not None, "it is open")
        opened = watch.opened(name)
        labelled = InventoryEntry(spec=boards[0].spec, labels=(("rack", "1"),))
        await watch.follow((labelled, boards[1]))
        assert watch.opened(name) is opened
        assert watch.look(name).entry.labels == (("rack", "1"),)
        await watch.follow(boards[1:])
        assert watch.look(name) is None
    finally:
        await watch.stop()


async def test_telemetry_comes_home_over_the_open_connection(app: App) -> None:
    boards = with_fleets(app.state_directory, ())
    gone = InventoryEntry(spec=DeviceSpec(name="gone", transport="grpc", address="unix:/nowhere/a.sock"))
    watch = FleetWatch(app, interval_s=600.0)
    collector = Collector(app, watch, CollectSettings())
    try:
        await watch.follow((*boards, gone))
        await until(
            lambda: all(look.state is not LookState.UNKNOWN for look in watch.looks()), "all were asked"
        )
        await collector.round()
    finally:
        await watch.stop()
    known = {device.device: device for device in app.telemetry().devices()}
    assert collector.problems == ()
    assert known["gone"].silent_since_s is not None
    for entry in boards:
        assert known[entry.name].answered_s is not None


def test_a_board_that_has_the_name_of_a_device_is_told_apart(app: App) -> None:
    name = with_fleets(app.state_directory, ())[0].name
    own = InventoryEntry(spec=DeviceSpec(name=name, transport="local"))
    assert [entry.name for entry in with_fleets(app.state_directory, (own,))][:2] == [name, f"t/{name}"]
