"""Holding a lease: granted, queued, refused, renewed, lost, given back."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from edgeloop.transport.client import AgentClient
from edgeloop_foundation.errors import BusyError, InvalidInputError, LeaseError
from edgeloop_protocol.types.lease import Lease, LeaseState


async def test_a_lease_is_held_and_given_back(agent: Any, client: AgentClient) -> None:
    async with client.lease("me@host") as lease:
        assert (lease.lease_id, lease.fencing_token) == ("lease-1", 7)
        assert not agent.script.released
    assert agent.script.released == ["lease-1"]
    assert agent.script.lease_requests[0].holder == "me@host"


async def test_it_is_given_back_on_error_and_on_cancellation(agent: Any, client: AgentClient) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.lease("me"):
            raise ZeroDivisionError
    inside = asyncio.Event()

    async def hold() -> None:
        async with client.lease("me"):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(agent.script.released) == 2


async def test_waiting_tells_who_holds_it(agent: Any, client: AgentClient) -> None:
    agent.script.lease_states = [[LeaseState.QUEUED, LeaseState.QUEUED, LeaseState.GRANTED]]
    waits: list[Lease] = []
    async with client.lease("me", wait_timeout_s=5, on_wait=waits.append):
        pass
    assert [w.current_holder for w in waits] == ["somebody@ci", "somebody@ci"]


async def test_a_priority_travels_with_the_request(agent: Any, client: AgentClient) -> None:
    async with client.lease("me", priority=7):
        pass
    async with client.lease("me"):
        pass
    assert [asked.priority for asked in agent.script.lease_requests] == [7, 0]


async def test_a_refusal_names_the_holder(agent: Any, client: AgentClient) -> None:
    agent.script.lease_states = [[LeaseState.REFUSED]]
    with pytest.raises(BusyError, match="bench was not granted: it is held by somebody@ci for another 12 s"):
        async with client.lease("me"):
            pytest.fail("entered without a grant")


async def test_a_place_lost_by_a_break_is_asked_for_anew(agent: Any, client: AgentClient) -> None:
    agent.script.lease_states = [[LeaseState.QUEUED], [LeaseState.RELEASED], [LeaseState.GRANTED]]
    async with client.lease("me", wait_timeout_s=30):
        pass
    first, second, third = agent.script.lease_requests
    assert first.request_id == second.request_id
    assert third.request_id != first.request_id
    assert 0 < third.wait_timeout_s < 30


async def test_a_lease_that_ends_without_a_break_is_not_asked_for_again(
    agent: Any, client: AgentClient
) -> None:
    agent.script.lease_states = [[LeaseState.EXPIRED]]
    with pytest.raises(LeaseError, match="bench: the lease ended before it began"):
        async with client.lease("me", wait_timeout_s=30):
            pytest.fail("entered without a grant")
    assert len(agent.script.lease_requests) == 1


async def test_heartbeats_come_four_times_a_lifetime(agent: Any, client: AgentClient, until: Any) -> None:
    async with client.lease("me", ttl_s=0.2) as lease:
        await until(lambda: agent.script.renewed >= 3)
        assert not lease.lost.is_set()


async def test_a_lease_that_the_agent_ended_is_lost_at_once(agent: Any, client: AgentClient) -> None:
    async with client.lease("me", ttl_s=0.4) as lease:
        agent.script.renew_status = grpc.StatusCode.ABORTED
        await asyncio.wait_for(lease.lost.wait(), 5)


async def test_an_agent_that_is_away_briefly_does_not_cost_the_lease(
    agent: Any, client: AgentClient, until: Any
) -> None:
    async with client.lease("me", ttl_s=2.0) as lease:
        agent.script.renew_status = grpc.StatusCode.UNAVAILABLE
        await asyncio.sleep(0.7)
        agent.script.renew_status = None
        await until(lambda: agent.script.renewed)
        assert not lease.lost.is_set()


async def test_a_heartbeat_that_failed_does_not_wait_for_the_next_quarter(
    agent: Any, client: AgentClient, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeloop.transport.rpc import lease as module

    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    async with client.lease("me", ttl_s=4.0) as lease:
        agent.script.renew_status = grpc.StatusCode.UNAVAILABLE
        # Four quarters a lifetime would be four attempts.
        await until(lambda: agent.script.renew_asked >= 8 or lease.lost.is_set())
        assert not lease.lost.is_set()


async def test_an_agent_that_stays_away_costs_it_after_one_lifetime(agent: Any, client: AgentClient) -> None:
    async with client.lease("me", ttl_s=0.4) as lease:
        agent.script.renew_status = grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(lease.lost.wait(), 5)


@pytest.mark.parametrize(("ttl_s", "wait_s"), [(0.0, 0.0), (601.0, 0.0), (60.0, -1.0)])
async def test_impossible_terms_are_refused_here(client: AgentClient, ttl_s: float, wait_s: float) -> None:
    with pytest.raises(InvalidInputError, match="at most 600 s"):
        client.lease("me", ttl_s=ttl_s, wait_timeout_s=wait_s)
