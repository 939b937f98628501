"""Looks at a device over the wire: shared, rare while a job runs, and of this moment in what costs nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
from edgeloop_agent.listen import UnixListener
from edgeloop_agent.looks import LOOK_BUSY_S, LOOK_IDLE_S, Looks
from edgeloop_protocol.convert import from_wire
from edgeloop_protocol.types.vitals import DeviceVitals
from edgeloop_protocol.v1 import device_pb2, device_pb2_grpc

from tests.device_agent.conftest import (
    QuietBoard,
    ScriptedExecute,
    digest,
    make_artifact,
    make_spec,
    running_agent,
    stub,
)
from tests.device_agent.test_server import acquire, submit, upload, watch


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)

    def wall_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


async def ask(channel: Any) -> DeviceVitals:
    client = stub(device_pb2_grpc.DeviceServiceStub, channel)
    return from_wire((await client.GetVitals(device_pb2.GetVitalsRequest())).vitals, DeviceVitals)


async def test_holder_job_and_waiting_results_are_of_this_moment(
    tmp_path: Path, unix_listener: UnixListener
) -> None:
    execute = ScriptedExecute()
    async with (
        running_agent(tmp_path / "state", listener=unix_listener, execute=execute) as (agent, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        idle = await ask(channel)
        assert (idle.lease_holder, idle.job, idle.spool_waiting_count) == ("", None, 0)
        lease = await acquire(channel, "ann")
        manifest, blobs = make_artifact()
        for data in (*blobs.values(), manifest):
            await upload(channel, data)
        job_id = await submit(
            channel, make_spec(digest(manifest), lease_id=lease.lease_id, token=lease.fencing_token)
        )
        await execute.started.wait()
        before = agent.looks.look_count
        answers = await asyncio.gather(*(ask(channel) for _ in range(10)))
        # A job of less than LOOK_BUSY_S is looked at once at most, whoever asks.
        assert agent.looks.look_count <= before + 1
        assert {answer.lease_holder for answer in answers} == {"ann"}
        assert {answer.job and (answer.job.job_id, answer.job.phase) for answer in answers} == {
            (job_id, "load")
        }
        execute.go_on.set()
        await watch(channel, job_id)
        after = await ask(channel)
        assert (after.job, after.spool_waiting_count) == (None, 1)


async def test_looks_are_spaced_and_their_age_is_told(tmp_path: Path, unix_listener: UnixListener) -> None:
    async with running_agent(tmp_path / "state", listener=unix_listener) as (agent, _):
        clock = SetClock()
        looks = Looks(
            board=QuietBoard(),  # type: ignore[arg-type]
            leases=agent.leases,
            jobs=agent.jobs,
            spool=agent.spool,
            clock=clock,
        )
        assert (await looks.look()).age_s == 0.0
        clock.now_s += LOOK_IDLE_S / 2
        second = await looks.look()
        assert (looks.look_count, second.age_s, second.wall_s) == (1, LOOK_IDLE_S / 2, clock.now_s)
        clock.now_s += LOOK_IDLE_S
        assert (await looks.look()).age_s == 0.0
        assert looks.look_count == 2
        assert LOOK_BUSY_S >= 10
