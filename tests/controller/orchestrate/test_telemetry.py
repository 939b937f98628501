"""Telemetry from a running agent into the controller's store, over the real wire."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest
from edgeloop.app import App
from edgeloop.domain.telemetry import Collected
from edgeloop.orchestrate.telemetry import collect_from, trim
from edgeloop.transport.client import AgentClient
from edgeloop.transport.collect import drain_spool
from edgeloop_agent.listen import UnixListener
from edgeloop_agent.server import Agent
from edgeloop_agent.telemetry.options import TelemetryOptions
from edgeloop_foundation.errors import UnavailableError
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_protocol.types.run import SpooledRun

from tests.device_agent.conftest import running_agent, until
from tests.device_agent.test_spool import make_run

PERIOD_S = 10.0
HOUR_S = 3600.0


async def test_an_hour_offline_loses_no_measurement_and_tells_how_many_samples_it_dropped(
    tmp_path: Path,
) -> None:
    clock = SimulatedClock()
    listener = UnixListener(path=tmp_path / "run" / "agent.sock")
    # The agent itself takes one sample, at its start; the others are taken here, each at its own time.
    options = TelemetryOptions(period_s=86_400.0, ring_bytes=64 << 10, processor_share_max=1.0)
    async with running_agent(tmp_path / "state", listener=listener, clock=clock, telemetry=options) as (
        agent,
        address,
    ):
        assert agent.telemetry is not None
        ring = agent.telemetry.ring
        with App.open(tmp_path / "home") as app:
            await until(lambda: ring.status(period_s=1.0, wall_s=0.0).next_sequence == 2)
            await _pass(clock, agent, 100.0)
            (first,) = await _collect(app, address, clock)
            assert (first.error, first.dropped_count) == ("", 0)
            # Nobody reads the device for an hour; it goes on to measure and to sample.
            away = UnavailableError("bench cannot be reached.")
            gone = await collect_from(app, "bench", away, now_s=clock.wall_s())
            await trim(app, now_s=clock.wall_s())
            assert gone.error == "bench cannot be reached."
            recorded = []
            for number in range(6):
                await _pass(clock, agent, HOUR_S / 6)
                recorded.append(agent.spool.append(make_run(number)))
            silent = app.telemetry().device("bench")
            assert silent.silent_since_s == pytest.approx(clock.wall_s() - HOUR_S, abs=1.0)

            (back,) = await _collect(app, address, clock)
            status = ring.status(period_s=1.0, wall_s=0.0)
            # Every sample of the hour is either here or counted as dropped, and some really are.
            taken = status.next_sequence - 1 - first.sample_count
            assert taken >= int(HOUR_S / PERIOD_S)
            assert back.sample_count + back.dropped_count == taken
            assert back.dropped_count == status.first_sequence - 1 - first.sample_count > 50
            known = app.telemetry().device("bench")
            assert (known.dropped_count, known.silent_since_s) == (back.dropped_count, None)
            assert await _fetched(address) == recorded
            # And then nothing comes twice.
            (again,) = await _collect(app, address, clock)
            assert (again.sample_count, again.dropped_count) == (0, 0)


async def _pass(clock: SimulatedClock, agent: Agent, seconds: float) -> None:
    """Let time go by sample by sample; each is waited for, as the simulated clock does not wait for threads."""
    telemetry = agent.telemetry
    assert telemetry is not None
    ends_ns = clock.monotonic_ns() + round(seconds * 1e9)
    while clock.monotonic_ns() < ends_ns:
        await clock.advance(PERIOD_S)
        await telemetry.sample()


async def _collect(app: App, address: str, clock: SimulatedClock) -> tuple[Collected, ...]:
    client = AgentClient(grpc.aio.insecure_channel(address), device="bench")
    try:
        collected = await collect_from(app, "bench", client, now_s=clock.wall_s())
        await trim(app, now_s=clock.wall_s())
        return (collected,)
    finally:
        await client.close()


async def _fetched(address: str) -> list[int]:
    client = AgentClient(grpc.aio.insecure_channel(address), device="bench")
    sequences: list[int] = []

    async def take(spooled: SpooledRun) -> bool:
        sequences.append(spooled.sequence)
        return True

    try:
        await drain_spool(client, take)
    finally:
        await client.close()
    return sequences
