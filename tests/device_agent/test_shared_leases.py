"""Leases of which several are granted at once, in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edgeloop_agent.leases import HOLDERS_MAX
from edgeloop_agent.sealed import seal
from edgeloop_foundation.errors import LeaseError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.lease import AvailabilityState, Lease, LeaseState, holder_text

from .conftest import until
from .test_leases import ROOT, Desk, final, request


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(SimulatedFileSystem(), ROOT)
    yield desk
    await desk.stop()


def waiting(
    desk: Desk, name: str, *, shared: bool, wait_s: float = 1000.0, priority: int = 0
) -> asyncio.Task[Lease]:
    wanted = request(name, ttl_s=500.0, wait_s=wait_s, priority=priority, shared=shared)
    return asyncio.create_task(final(desk.leases, wanted))


async def give_back(desk: Desk, lease: Lease) -> None:
    await desk.leases.release(lease.lease_id, lease.fencing_token)


def holders(desk: Desk) -> list[str]:
    return [lease.holder for lease in desk.leases.listing() if lease.state is LeaseState.GRANTED]


async def test_shared_ones_are_granted_beside_each_other_and_an_exclusive_one_waits_for_all(
    desk: Desk,
) -> None:
    a = await final(desk.leases, request("a", shared=True))
    b = await final(desk.leases, request("b", shared=True))
    assert b.fencing_token > a.fencing_token
    assert [lease.shared for lease in desk.leases.listing()] == [True, True]
    alone = waiting(desk, "alone", shared=False)
    await until(lambda: len(desk.leases.listing()) == 3)
    waiter = desk.leases.listing()[2]
    assert (waiter.current_holder, waiter.queue_position) == ("a, b", 1)
    await give_back(desk, a)
    assert holders(desk) == ["b"]
    assert not alone.done()
    await give_back(desk, b)
    assert (await alone).state is LeaseState.GRANTED
    assert holders(desk) == ["alone"]


async def test_an_exclusive_one_keeps_shared_ones_out_and_lets_all_in_at_its_end(desk: Desk) -> None:
    alone = await final(desk.leases, request("alone"))
    refused = await final(desk.leases, request("hasty", shared=True))
    assert refused.state is LeaseState.REFUSED
    assert "held by alone" in refused.reason
    tasks = [waiting(desk, name, shared=True) for name in ("a", "b", "c")]
    await until(lambda: len(desk.leases.listing()) == 4)
    await give_back(desk, alone)
    assert [lease.state for lease in await asyncio.gather(*tasks)] == [LeaseState.GRANTED] * 3
    assert sorted(holders(desk)) == ["a", "b", "c"]


async def test_a_waiting_exclusive_one_is_not_starved_by_shared_ones_that_come_later(desk: Desk) -> None:
    first = await final(desk.leases, request("first", shared=True))
    alone = waiting(desk, "alone", shared=False)
    await until(lambda: len(desk.leases.listing()) == 2)
    late = waiting(desk, "late", shared=True)
    await until(lambda: len(desk.leases.listing()) == 3)
    assert holders(desk) == ["first"]
    await give_back(desk, first)
    await give_back(desk, await alone)
    assert (await late).state is LeaseState.GRANTED


async def test_a_shared_one_of_higher_priority_goes_past_a_waiting_exclusive_one(desk: Desk) -> None:
    await final(desk.leases, request("first", shared=True))
    alone = waiting(desk, "alone", shared=False)
    await until(lambda: len(desk.leases.listing()) == 2)
    urgent = await final(desk.leases, request("urgent", priority=1, shared=True))
    assert urgent.state is LeaseState.GRANTED
    assert not alone.done()
    alone.cancel()
    await asyncio.wait({alone})


async def test_nobody_measures_under_a_shared_lease(desk: Desk) -> None:
    lease = await final(desk.leases, request("a", shared=True))
    desk.leases.check(lease.lease_id, lease.fencing_token, shared=True)
    with pytest.raises(LeaseError, match="needs the device alone"):
        desk.leases.check(lease.lease_id, lease.fencing_token)
    with pytest.raises(LeaseError, match="stale"):
        desk.leases.check(lease.lease_id, lease.fencing_token + 1, shared=True)


async def test_each_expires_by_itself(desk: Desk) -> None:
    a = await final(desk.leases, request("a", ttl_s=10.0, shared=True))
    b = await final(desk.leases, request("b", ttl_s=10.0, shared=True))
    await desk.clock.advance(8.0)
    await desk.leases.renew(b.lease_id, b.fencing_token)
    await desk.clock.advance(4.0)
    await until(lambda: holders(desk) == ["b"])
    await until(lambda: desk.ended == [a.lease_id])
    with pytest.raises(LeaseError, match="held by b"):
        desk.leases.check(a.lease_id, a.fencing_token, shared=True)


async def test_all_of_them_outlive_a_restart_for_what_was_left(desk: Desk) -> None:
    a = await final(desk.leases, request("a", ttl_s=60.0, shared=True))
    await desk.clock.advance(20.0)
    b = await final(desk.leases, request("b", ttl_s=60.0, shared=True))
    await desk.restart()
    kept = {lease.lease_id: lease.expires_in_s for lease in desk.leases.listing()}
    assert kept == {a.lease_id: pytest.approx(40.0), b.lease_id: pytest.approx(60.0)}
    c = await final(desk.leases, request("c", shared=True))
    assert c.fencing_token > b.fencing_token
    assert (await final(desk.leases, request("alone"))).state is LeaseState.REFUSED


async def test_a_lease_that_an_older_agent_kept_is_exclusive(tmp_path: Path) -> None:
    tree = {"token": 7, "lease": {"lease_id": "l", "token": 7, "request": to_json(request("old"))}}
    (tmp_path / "lease.json").write_bytes(seal(json.dumps(tree).encode()))
    desk = Desk(OsFileSystem(), tmp_path)
    assert holders(desk) == ["old"]
    assert (await final(desk.leases, request("a", shared=True))).state is LeaseState.REFUSED
    await desk.stop()


async def test_a_drained_device_is_empty_when_the_last_shared_one_is_back(desk: Desk) -> None:
    a = await final(desk.leases, request("a", shared=True))
    b = await final(desk.leases, request("b", shared=True))
    assert (await desk.leases.drain("new fan", "anna")).state is AvailabilityState.DRAINING
    assert (await final(desk.leases, request("c", shared=True))).state is LeaseState.REFUSED
    await give_back(desk, a)
    assert desk.leases.availability.state is AvailabilityState.DRAINING
    await give_back(desk, b)
    assert desk.leases.availability.state is AvailabilityState.DRAINED


async def test_an_exclusive_one_waits_until_the_work_of_a_shared_one_stops(desk: Desk) -> None:
    stops, stopped = asyncio.Event(), asyncio.Event()

    async def stop_work(lease_id: str, reason: str) -> None:
        stops.set()
        await stopped.wait()

    desk.leases.on_end(stop_work)
    a = await final(desk.leases, request("a", shared=True))
    releasing = asyncio.create_task(give_back(desk, a))
    await stops.wait()
    assert (await final(desk.leases, request("alone"))).state is LeaseState.REFUSED
    assert (await final(desk.leases, request("b", shared=True))).state is LeaseState.GRANTED
    stopped.set()
    await releasing


async def test_only_so_many_share_a_device(desk: Desk) -> None:
    for number in range(HOLDERS_MAX):
        assert (await final(desk.leases, request(str(number), shared=True))).state is LeaseState.GRANTED
    refused = await final(desk.leases, request("one more", shared=True))
    assert refused.state is LeaseState.REFUSED
    assert f"held by 0, 1, 2 and {HOLDERS_MAX - 3} more" in refused.reason


def test_of_many_holders_three_are_named() -> None:
    held = [Lease(lease_id=n, state=LeaseState.GRANTED, holder=n, shared=True) for n in "abcde"]
    waits = Lease(lease_id="w", state=LeaseState.QUEUED, holder="w")
    assert holder_text([*held, waits]) == "a, b, c and 2 more"
    assert holder_text([waits]) == ""


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_clients_do_nobody_shares_a_device_with_an_exclusive_holder(
    desk: Desk, seed: int
) -> None:
    """Clients that come, renew, give back, fall silent and restarts of the agent, in an order drawn from a seed."""
    chance = random.Random(seed)
    tasks: dict[str, asyncio.Task[Lease]] = {}
    highest = grants = 0
    for number in range(60):
        action = chance.choice(("ask", "ask", "back", "back", "renew", "time", "leave", "restart"))
        held = [lease for lease in desk.leases.listing() if lease.state is LeaseState.GRANTED]
        if action == "ask":
            name, shared = str(number), chance.random() < 0.6
            priority, wait_s = chance.choice((0, 0, 0, 5)), chance.choice((0.0, 1000.0))
            tasks[name] = waiting(desk, name, shared=shared, wait_s=wait_s, priority=priority)
        elif action == "back" and held:
            await give_back(desk, chance.choice(held))
        elif action == "renew" and held:
            one = chance.choice(held)
            await desk.leases.renew(one.lease_id, one.fencing_token)
        elif action == "time":
            await desk.clock.advance(chance.choice((1.0, 400.0)))
        elif action == "leave" and tasks:
            tasks.pop(chance.choice(list(tasks))).cancel()
        elif action == "restart" and chance.random() < 0.2:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            tasks.clear()
            await desk.restart()
        await settled(desk)
        now = desk.leases.listing()
        inside = [lease for lease in now if lease.state is LeaseState.GRANTED]
        assert all(lease.shared for lease in inside) or len(inside) == 1
        queue = [lease for lease in now if lease.state is LeaseState.QUEUED]
        assert [lease.priority for lease in queue] == sorted((q.priority for q in queue), reverse=True)
        if queue:
            # Whoever is first waits for a reason.
            assert inside
            assert not (queue[0].shared and all(lease.shared for lease in inside))
        grants += sum(lease.fencing_token > highest for lease in inside)
        highest = max([highest, *(lease.fencing_token for lease in inside)])
    assert grants > 5
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


async def settled(desk: Desk) -> None:
    """Wait until what was begun is done: the queue's head stays out for a reason, and nothing changes any more."""
    before: object = None
    for _ in range(20_000):
        await asyncio.sleep(0.0005)
        now = desk.leases.listing()
        inside = [lease for lease in now if lease.state is LeaseState.GRANTED]
        head = next((lease for lease in now if lease.queue_position == 1), None)
        fits = head is not None and (not inside or (head.shared and all(lease.shared for lease in inside)))
        if now == before and not fits:
            return
        before = now
