"""Leases in virtual time, on a real disk and on one that loses power."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edgeloop_agent.lease_journal import LeaseJournal
from edgeloop_agent.leases import Leases
from edgeloop_foundation.errors import AlreadyExistsError, InvalidInputError, LeaseError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.lease import OPEN, AvailabilityState, Lease, LeaseRequest, LeaseState

from .conftest import until

ROOT = Path("/state/leases")


def request(
    name: str, *, ttl_s: float = 60.0, wait_s: float = 0.0, priority: int = 0, shared: bool = False
) -> LeaseRequest:
    return LeaseRequest(
        request_id=name, holder=name, ttl_s=ttl_s, wait_timeout_s=wait_s, priority=priority, shared=shared
    )


async def final(leases: Leases, wanted: LeaseRequest) -> Lease:
    return [lease async for lease in leases.acquire(wanted)][-1]


class Desk:
    """Leases with their clock and disk, restartable."""

    def __init__(self, fs: FileSystem, root: Path) -> None:
        self.fs, self.root = fs, root
        self.clock = SimulatedClock()
        self.ended: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self.leases = self._open("boot-1")

    def _open(self, boot_id: str) -> Leases:
        leases = Leases(fs=self.fs, clock=self.clock, root=self.root, boot_id=boot_id)
        leases.open()
        leases.on_end(self._on_end)
        self._task = asyncio.create_task(leases.run())
        return leases

    async def _on_end(self, lease_id: str, reason: str) -> None:
        self.ended.append(lease_id)

    async def restart(self, boot_id: str = "boot-1") -> None:
        await self.stop()
        self.leases = self._open(boot_id)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


@pytest.fixture(params=["disk", "simulated"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    on_disk = request.param == "disk"
    desk = Desk(OsFileSystem() if on_disk else SimulatedFileSystem(), tmp_path if on_disk else ROOT)
    yield desk
    await desk.stop()


async def test_a_silent_holder_loses_the_device_after_its_time(desk: Desk) -> None:
    lease = await final(desk.leases, request("a", ttl_s=10.0))
    await desk.clock.advance(9.9)
    desk.leases.check(lease.lease_id, lease.fencing_token)
    await desk.clock.advance(0.2)
    with pytest.raises(LeaseError):
        desk.leases.check(lease.lease_id, lease.fencing_token)
    await until(lambda: desk.ended == [lease.lease_id])
    assert desk.leases.listing() == ()


async def test_a_heartbeat_gives_the_full_time_again(desk: Desk) -> None:
    lease = await final(desk.leases, request("a", ttl_s=10.0))
    for _ in range(3):
        await desk.clock.advance(8.0)
        renewed = await desk.leases.renew(lease.lease_id, lease.fencing_token)
        assert renewed.expires_in_s == pytest.approx(10.0)
    with pytest.raises(LeaseError, match="stale"):
        await desk.leases.renew(lease.lease_id, lease.fencing_token - 1)


async def test_waiters_are_served_in_order_and_give_up_in_time(desk: Desk) -> None:
    first = await final(desk.leases, request("first", ttl_s=100.0))
    waiting = {
        name: asyncio.create_task(final(desk.leases, request(name, wait_s=wait_s)))
        for name, wait_s in (("second", 200.0), ("hasty", 5.0), ("third", 200.0))
    }
    await until(lambda: len(desk.leases.listing()) == 4)
    assert [lease.queue_position for lease in desk.leases.listing()] == [0, 1, 2, 3]
    await desk.clock.advance(5.1)
    hasty = await asyncio.wait_for(waiting["hasty"], 5)
    assert hasty.state is LeaseState.REFUSED
    assert "held by first" in hasty.reason
    await desk.leases.release(first.lease_id, first.fencing_token)
    second = await asyncio.wait_for(waiting["second"], 5)
    assert second.fencing_token > first.fencing_token
    assert not waiting["third"].done()
    await desk.leases.release(second.lease_id, second.fencing_token)
    third = await asyncio.wait_for(waiting["third"], 5)
    assert third.fencing_token > second.fencing_token


async def test_a_wait_that_is_shorter_than_the_lease_ends_in_its_time(desk: Desk) -> None:
    await final(desk.leases, request("first", ttl_s=60.0))
    await desk.restart()
    await desk.clock.advance(1.0)
    # Now run() sleeps for the end of the first lease, and nothing else will wake it.
    waiting = asyncio.create_task(final(desk.leases, request("second", wait_s=5.0)))
    await until(lambda: len(desk.leases.listing()) == 2)
    await desk.clock.advance(6.0)
    lease = await asyncio.wait_for(waiting, 5.0)
    assert lease.state is LeaseState.REFUSED


async def test_a_waiter_that_goes_away_leaves_the_queue(desk: Desk) -> None:
    await final(desk.leases, request("first"))
    task = asyncio.create_task(final(desk.leases, request("second", wait_s=100.0)))
    await until(lambda: len(desk.leases.listing()) == 2)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [lease.holder for lease in desk.leases.listing()] == ["first"]


async def test_nobody_is_let_in_while_the_work_of_a_lost_client_still_stops(desk: Desk) -> None:
    stops, stopped = asyncio.Event(), asyncio.Event()

    async def stop_work(lease_id: str, reason: str) -> None:
        stops.set()
        await stopped.wait()

    desk.leases.on_end(stop_work)
    first = await final(desk.leases, request("first"))
    releasing = asyncio.create_task(desk.leases.release(first.lease_id, first.fencing_token))
    await stops.wait()
    releasing.cancel()
    await asyncio.wait({releasing})
    waiting = asyncio.create_task(final(desk.leases, request("second", wait_s=60.0)))
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    stopped.set()
    assert (await asyncio.wait_for(waiting, 5)).state is LeaseState.GRANTED


async def test_the_same_request_is_the_same_lease(desk: Desk) -> None:
    lease = await final(desk.leases, request("a"))
    assert (await final(desk.leases, request("a"))).lease_id == lease.lease_id
    with pytest.raises(AlreadyExistsError):
        await final(desk.leases, request("a", ttl_s=1.0))
    await desk.leases.release(lease.lease_id, lease.fencing_token)
    again = await desk.leases.release(lease.lease_id, lease.fencing_token)
    assert again.state is LeaseState.RELEASED
    assert (await final(desk.leases, request("a"))).state is LeaseState.RELEASED


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, 601.0, math.nan, math.inf])
async def test_a_time_out_of_bounds_is_refused(desk: Desk, ttl_s: float) -> None:
    with pytest.raises(InvalidInputError):
        await final(desk.leases, request("a", ttl_s=ttl_s))
    with pytest.raises(InvalidInputError):
        await final(desk.leases, request("", ttl_s=1.0))


async def test_a_restart_keeps_the_lease_for_what_was_left(desk: Desk) -> None:
    lease = await final(desk.leases, request("a", ttl_s=60.0))
    await desk.clock.advance(20.0)
    await desk.leases.renew(lease.lease_id, lease.fencing_token)
    await desk.clock.advance(25.0)
    await desk.restart()
    (kept,) = desk.leases.listing()
    assert (kept.lease_id, kept.fencing_token) == (lease.lease_id, lease.fencing_token)
    assert kept.expires_in_s == pytest.approx(35.0)
    assert (await final(desk.leases, request("a", ttl_s=60.0))).lease_id == lease.lease_id
    await desk.clock.advance(35.1)
    await until(lambda: desk.leases.listing() == ())


async def test_after_another_boot_a_lease_holds_one_time_to_live(desk: Desk) -> None:
    await final(desk.leases, request("a", ttl_s=60.0))
    await desk.clock.advance(50.0)
    await desk.restart("boot-2")
    assert desk.leases.listing()[0].expires_in_s == pytest.approx(60.0)


async def test_restarts_within_the_next_boot_take_from_that_time_to_live(desk: Desk) -> None:
    await final(desk.leases, request("a", ttl_s=60.0))
    await desk.restart("boot-2")
    await desk.clock.advance(20.0)
    await desk.restart("boot-2")
    assert desk.leases.listing()[0].expires_in_s == pytest.approx(40.0)


async def test_a_released_lease_stays_released_after_a_restart(desk: Desk) -> None:
    lease = await final(desk.leases, request("a"))
    await desk.leases.release(lease.lease_id, lease.fencing_token)
    await desk.restart()
    assert desk.leases.listing() == ()
    assert (await final(desk.leases, request("b"))).fencing_token > lease.fencing_token


def journal(fs: FileSystem, root: Path = ROOT) -> LeaseJournal:
    return LeaseJournal(fs=fs, clock=SimulatedClock(), root=root, boot_id="b")


def test_no_power_cut_takes_the_token_back() -> None:
    fs = SimulatedFileSystem()
    first = journal(fs)
    first.load(0)
    first.store([("l1", request("a"), 1)], 1)
    fs.settle()
    first.heartbeat({"l1": 1})
    first.store([], 1)
    first.store([("l2", request("b"), 2), ("l3", request("c"), 3)], 3)
    first.heartbeat({"l2": 1, "l3": 1})
    found = set()
    for crashed in fs.crash_states():
        token, leases = journal(crashed).load(0)
        found.add((token, *(lease.lease_id for lease in leases)))
    assert found == {(1, "l1"), (1,), (3, "l2", "l3")}
    for seed in range(30):
        granted = SimulatedFileSystem()
        on_disk = journal(granted)
        on_disk.load(0)
        on_disk.store([("l1", request("a"), 7)], 7)
        token, leases = journal(granted.crash(seed)).load(0)
        assert token == 7
        assert len(leases) == 1


def test_a_spoiled_token_jumps_ahead_and_the_file_is_kept(tmp_path: Path) -> None:
    first = journal(OsFileSystem(), tmp_path)
    first.load(0)
    first.store([("l1", request("a"), 5)], 5)
    path = tmp_path / "lease.json"
    path.write_bytes(path.read_bytes().replace(b'"token": 5', b'"token": 1', 1))
    token, leases = journal(OsFileSystem(), tmp_path).load(3)
    assert token > 1_000_000
    assert leases == ()
    assert (tmp_path / "lease.corrupt").exists()
    assert journal(OsFileSystem(), tmp_path).load(0)[0] == token


async def queued(desk: Desk, *names_and_priorities: tuple[str, int]) -> dict[str, asyncio.Task[Lease]]:
    tasks: dict[str, asyncio.Task[Lease]] = {}
    for name, priority in names_and_priorities:
        wanted = request(name, wait_s=1000.0, priority=priority)
        tasks[name] = asyncio.create_task(final(desk.leases, wanted))
        await until(lambda: len(desk.leases.listing()) == len(tasks) + 1)
    return tasks


async def test_a_higher_priority_goes_first_and_equals_in_the_order_they_came(desk: Desk) -> None:
    lease = await final(desk.leases, request("holder", ttl_s=500.0))
    tasks = await queued(desk, ("low", -5), ("first", 0), ("second", 0), ("urgent", 10), ("third", 0))
    order = ["urgent", "first", "second", "third", "low"]
    assert [waiter.holder for waiter in desk.leases.listing()[1:]] == order
    assert [waiter.queue_position for waiter in desk.leases.listing()[1:]] == [1, 2, 3, 4, 5]
    for name in order:
        await desk.leases.release(lease.lease_id, lease.fencing_token)
        lease = await tasks[name]
        assert (lease.state, lease.holder) == (LeaseState.GRANTED, name)


async def test_a_waiter_is_told_that_somebody_went_before_it(desk: Desk) -> None:
    await final(desk.leases, request("holder", ttl_s=500.0))
    states = desk.leases.acquire(request("first", wait_s=1000.0))
    assert (await anext(states)).queue_position == 1
    tasks = await queued_behind(desk)
    assert (await anext(states)).queue_position == 2
    await states.aclose()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_grant_is_told_to_one_who_was_slow_to_take_in_that_they_wait(desk: Desk) -> None:
    first = await final(desk.leases, request("first", ttl_s=500.0))
    states = desk.leases.acquire(request("second", wait_s=1000.0))
    assert (await anext(states)).state is LeaseState.QUEUED
    # The place in the queue changes, and before that is taken in the lease is granted.
    tasks = await queued_behind(desk)
    assert (await anext(states)).queue_position == 2
    tasks[0].cancel()
    await until(lambda: len(desk.leases.listing()) == 2)
    await desk.leases.release(first.lease_id, first.fencing_token)
    await until(lambda: desk.leases.listing()[0].holder == "second")
    assert [lease.state async for lease in states][-1] is LeaseState.GRANTED


async def queued_behind(desk: Desk) -> list[asyncio.Task[Lease]]:
    task = asyncio.create_task(final(desk.leases, request("urgent", wait_s=1000.0, priority=1)))
    await until(lambda: len(desk.leases.listing()) == 3)
    return [task]


@pytest.mark.parametrize("priority", [-101, 101])
async def test_a_priority_out_of_bounds_is_refused(desk: Desk, priority: int) -> None:
    with pytest.raises(InvalidInputError, match="between -100 and 100"):
        await final(desk.leases, request("a", priority=priority))


async def test_a_drained_device_lets_its_holder_finish_and_refuses_everybody_else(desk: Desk) -> None:
    lease = await final(desk.leases, request("holder", ttl_s=500.0))
    tasks = await queued(desk, ("waiter", 5))
    assert (await desk.leases.drain("new fan", "anna")).state is AvailabilityState.DRAINING
    refused = await tasks["waiter"]
    assert refused.state is LeaseState.REFUSED
    assert refused.reason == "the device is drained by anna: new fan"
    assert (await desk.leases.renew(lease.lease_id, lease.fencing_token)).state is LeaseState.GRANTED
    assert (await final(desk.leases, request("late", wait_s=100.0))).state is LeaseState.REFUSED
    await desk.leases.release(lease.lease_id, lease.fencing_token)
    assert desk.leases.availability.state is AvailabilityState.DRAINED
    assert (await final(desk.leases, request("later"))).state is LeaseState.REFUSED
    assert await desk.leases.undrain() == OPEN
    assert (await final(desk.leases, request("after"))).state is LeaseState.GRANTED


async def test_a_drain_outlives_restarts_and_an_undrain_too(desk: Desk) -> None:
    lease = await final(desk.leases, request("holder", ttl_s=500.0))
    await desk.leases.drain("new fan", "anna")
    await desk.restart()
    now = desk.leases.availability
    assert (now.state, now.reason, now.drained_by) == (AvailabilityState.DRAINING, "new fan", "anna")
    await desk.leases.release(lease.lease_id, lease.fencing_token)
    await desk.restart("boot-2")
    assert desk.leases.availability.state is AvailabilityState.DRAINED
    assert (await final(desk.leases, request("late"))).state is LeaseState.REFUSED
    await desk.leases.undrain()
    await desk.restart("boot-3")
    assert desk.leases.availability == OPEN
    assert (await final(desk.leases, request("after"))).state is LeaseState.GRANTED


async def test_a_spoiled_order_to_drain_still_drains(tmp_path: Path) -> None:
    desk = Desk(OsFileSystem(), tmp_path)
    await desk.leases.drain("new fan", "anna")
    (tmp_path / "drain.json").write_bytes(b"\0\0")
    await desk.restart()
    assert desk.leases.availability.state is AvailabilityState.DRAINED
    assert (await final(desk.leases, request("late"))).state is LeaseState.REFUSED
    await desk.stop()


@pytest.mark.parametrize(("reason", "author"), [("", "anna"), ("fan", ""), ("x" * 201, "anna")])
async def test_a_drain_says_why_and_who(desk: Desk, reason: str, author: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 200 characters"):
        await desk.leases.drain(reason, author)
    assert desk.leases.availability == OPEN
