"""The real server over a Unix socket, from the outside."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from edgeloop_agent.gate import ORDINARY_CALLS_MAX, WAITING_CALLS_MAX
from edgeloop_agent.listen import UnixListener
from edgeloop_agent.server import SERVICES, Agent, StateLock
from edgeloop_agent.upload import UploadName
from edgeloop_foundation.errors import BusyError, InvalidInputError, NotFoundError, UnavailableError
from edgeloop_protocol.convert import from_wire, to_wire
from edgeloop_protocol.types.job import JobState
from edgeloop_protocol.types.lease import Lease, LeaseRequest, LeaseState
from edgeloop_protocol.types.run import Outcome, SpooledRun
from edgeloop_protocol.types.trial import JobSpec
from edgeloop_protocol.v1 import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    device_pb2,
    device_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    lease_pb2,
    lease_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    trial_pb2,
)
from edgeloop_protocol.v1 import content_addressable_storage_pb2 as cas_pb2
from edgeloop_protocol.v1 import content_addressable_storage_pb2_grpc as cas_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from .conftest import ScriptedExecute, digest, make_artifact, make_spec, running_agent, stub, until

Channel = grpc.aio.Channel
CHUNK = 64 * 1024


def resource(data: bytes, upload: str) -> str:
    return f"uploads/{upload}/blobs/{digest(data)}/{len(data)}"


async def requests(
    data: bytes, name: str, start: int = 0, stop: int | None = None
) -> AsyncIterator[bytestream_pb2.WriteRequest]:
    end = len(data) if stop is None else stop
    for offset in range(start, max(end, start + 1), CHUNK):
        piece = data[offset : min(offset + CHUNK, end)]
        last = offset + len(piece) >= len(data)
        yield bytestream_pb2.WriteRequest(
            resource_name=name, write_offset=offset, data=piece, finish_write=last
        )


async def upload(channel: Channel, data: bytes) -> None:
    client = stub(bytestream_pb2_grpc.ByteStreamStub, channel)
    answer = await client.Write(requests(data, resource(data, str(uuid.uuid4()))))
    assert answer.committed_size == len(data)


async def acquire(channel: Channel, holder: str, *, ttl_s: float = 60.0, wait_s: float = 0.0) -> Lease:
    request = LeaseRequest(request_id=str(uuid.uuid4()), holder=holder, ttl_s=ttl_s, wait_timeout_s=wait_s)
    return [lease async for lease in acquiring(channel, request)][-1]


async def acquiring(channel: Channel, request: LeaseRequest) -> AsyncIterator[Lease]:
    client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
    wire = lease_pb2.AcquireRequest(request=to_wire(request, lease_pb2.LeaseRequest()))
    async for answer in client.Acquire(wire):
        yield from_wire(answer.lease, Lease)


async def submit(channel: Channel, spec: JobSpec) -> str:
    client = stub(job_pb2_grpc.JobServiceStub, channel)
    wire = job_pb2.SubmitRequest(spec=to_wire(spec, trial_pb2.JobSpec()))
    return str((await client.Submit(wire)).job.job_id)


async def watch(channel: Channel, job_id: str, after: int = 0) -> list[Any]:
    client = stub(job_pb2_grpc.JobServiceStub, channel)
    request = job_pb2.WatchRequest(job_id=job_id, after_sequence=after)
    return [answer.event async for answer in client.Watch(request)]


async def fetch(channel: Channel) -> list[SpooledRun]:
    client = stub(run_pb2_grpc.SpoolServiceStub, channel)
    return [
        from_wire(answer.spooled_run, SpooledRun) async for answer in client.Fetch(run_pb2.FetchRequest())
    ]


async def test_hello_and_describe_introduce_the_device(served: tuple[Agent, Channel]) -> None:
    client = stub(device_pb2_grpc.DeviceServiceStub, served[1])
    hello = device_pb2.Hello(protocol_version=1, software_version="t")
    answer = await client.SayHello(device_pb2.SayHelloRequest(hello=hello))
    assert answer.hello.protocol_version == 1
    assert answer.hello.peer_id == "d" * 32
    assert "blobs" in answer.hello.capabilities
    facts = (await client.Describe(device_pb2.DescribeRequest())).facts
    assert facts.hardware.logical_cores == 2
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.SayHello(device_pb2.SayHelloRequest(hello=device_pb2.Hello()))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "Update the controller" in (refused.value.details() or "")


async def test_an_upload_resumes_where_it_was_committed(served: tuple[Agent, Channel]) -> None:
    agent, channel = served
    client = stub(bytestream_pb2_grpc.ByteStreamStub, channel)
    data = bytes(range(256)) * 2048
    name = resource(data, str(uuid.uuid4()))
    broken = await client.Write(requests(data, name, stop=3 * CHUNK))
    assert broken.committed_size == 3 * CHUNK
    status = await client.QueryWriteStatus(bytestream_pb2.QueryWriteStatusRequest(resource_name=name))
    assert (status.committed_size, status.complete) == (3 * CHUNK, False)
    with pytest.raises(grpc.aio.AioRpcError, match=f"{3 * CHUNK} was next"):
        await client.Write(requests(data, name, start=0))
    assert agent.store.size_of(digest(data)) is None
    done = await client.Write(requests(data, name, start=3 * CHUNK))
    assert done.committed_size == len(data)
    again = await client.Write(requests(data, resource(data, str(uuid.uuid4()))))
    assert again.committed_size == len(data)
    request = bytestream_pb2.ReadRequest(resource_name=f"blobs/{digest(data)}/{len(data)}", read_offset=5)
    assert b"".join([answer.data async for answer in client.Read(request)]) == data[5:]


async def test_a_cancelled_upload_keeps_what_came(served: tuple[Agent, Channel]) -> None:
    client = stub(bytestream_pb2_grpc.ByteStreamStub, served[1])
    data = bytes(4 * CHUNK)
    name = resource(data, str(uuid.uuid4()))
    call = client.Write()
    async for request in requests(data, name, stop=2 * CHUNK):
        await call.write(request)
    query = bytestream_pb2.QueryWriteStatusRequest(resource_name=name)
    part = served[0].store.uploads / f"{name.split('/')[1]}.{digest(data)}.{len(data)}.part"
    await until(lambda: part.exists() and part.stat().st_size >= CHUNK)
    call.cancel()
    for _ in range(200):
        status = await client.QueryWriteStatus(query)
        if status.committed_size:
            break
        await asyncio.sleep(0.01)
    assert status.committed_size in (CHUNK, 2 * CHUNK)
    done = await client.Write(requests(data, name, start=status.committed_size))
    assert done.committed_size == len(data)


async def test_an_upload_cancelled_at_any_moment_can_be_resumed(served: tuple[Agent, Channel]) -> None:
    client = stub(bytestream_pb2_grpc.ByteStreamStub, served[1])
    for number in range(20):
        data = number.to_bytes(4, "big") * CHUNK
        name = resource(data, str(uuid.uuid4()))
        call = client.Write()
        await call.write(bytestream_pb2.WriteRequest(resource_name=name, data=data[:CHUNK]))
        await asyncio.sleep(number / 4000)
        call.cancel()
        assert await resumed(served, client, data, name) == len(data)
        assert served[0].store._open_uploads == {}


async def resumed(served: tuple[Agent, Channel], client: Any, data: bytes, name: str) -> int:
    """Resume an upload as a client does: the cancelled call may still be on its way through the agent."""
    upload_name = UploadName(uuid=name.split("/")[1], digest=digest(data), size_bytes=len(data))
    for _ in range(500):
        committed = 0
        with contextlib.suppress(NotFoundError):
            committed, _complete = served[0].store.status(upload_name)
        try:
            return int((await client.Write(requests(data, name, start=committed))).committed_size)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.002)
    raise AssertionError("the upload never let go")


async def test_bytes_of_another_digest_are_refused_and_gone(served: tuple[Agent, Channel]) -> None:
    client = stub(bytestream_pb2_grpc.ByteStreamStub, served[1])
    name = f"uploads/{uuid.uuid4()}/blobs/{'0' * 64}/4"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.Write(requests(b"abcd", name))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served[0].store.fs.entries(served[0].store.uploads) == []


async def test_find_missing_names_what_is_not_here(served: tuple[Agent, Channel]) -> None:
    await upload(served[1], b"here")
    client = stub(cas_pb2_grpc.ContentAddressableStorageStub, served[1])
    wanted = [cas_pb2.Digest(hash=digest(data), size_bytes=4) for data in (b"here", b"gone")]
    answer = await client.FindMissingBlobs(cas_pb2.FindMissingBlobsRequest(blob_digests=wanted))
    assert [missing.hash for missing in answer.missing_blob_digests] == [digest(b"gone")]


async def test_the_second_client_waits_and_sees_the_holder(served: tuple[Agent, Channel]) -> None:
    channel = served[1]
    first = await acquire(channel, "first")
    assert first.state is LeaseState.GRANTED
    refused = await acquire(channel, "impatient")
    assert refused.state is LeaseState.REFUSED
    assert "held by first" in refused.reason
    request = LeaseRequest(request_id="r", holder="second", wait_timeout_s=30.0)
    states: list[Lease] = []
    async for lease in acquiring(channel, request):
        states.append(lease)
        if lease.state is LeaseState.QUEUED:
            client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
            await client.Release(
                lease_pb2.ReleaseRequest(lease_id=first.lease_id, fencing_token=first.fencing_token)
            )
    assert (states[0].queue_position, states[0].current_holder) == (1, "first")
    assert states[0].current_expires_in_s > 50
    assert states[-1].state is LeaseState.GRANTED
    assert states[-1].fencing_token > first.fencing_token


async def test_closing_the_stream_gives_up_the_place(served: tuple[Agent, Channel]) -> None:
    agent, channel = served
    await acquire(channel, "first")
    client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
    request = LeaseRequest(request_id="r", holder="second", wait_timeout_s=30.0)
    call = client.Acquire(lease_pb2.AcquireRequest(request=to_wire(request, lease_pb2.LeaseRequest())))
    await call.read()
    assert [lease.state for lease in agent.leases.listing()] == [LeaseState.GRANTED, LeaseState.QUEUED]
    call.cancel()
    await until(lambda: len(agent.leases.listing()) == 1)


async def test_an_expired_lease_frees_the_device_and_cancels_its_job(
    tmp_path: Path, unix_listener: UnixListener
) -> None:
    execute = ScriptedExecute()
    async with (
        running_agent(tmp_path / "s", listener=unix_listener, execute=execute) as (_, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        manifest, blobs = make_artifact()
        for data in (manifest, *blobs.values()):
            await upload(channel, data)
        lease = await acquire(channel, "silent", ttl_s=0.4)
        spec = make_spec(digest(manifest), lease_id=lease.lease_id, token=lease.fencing_token, trials=2)
        job_id = await submit(channel, spec)
        events = await watch(channel, job_id)
        assert events[-1].state == job_pb2.JOB_STATE_CANCELLED
        assert "lease is over" in events[-1].message
        following = await acquire(channel, "next", wait_s=5.0)
        assert following.state is LeaseState.GRANTED
        assert [row.run.outcome for row in await fetch(channel)] == [Outcome.CANCELLED] * 2
        with pytest.raises(grpc.aio.AioRpcError) as stale:
            await submit(channel, make_spec(digest(manifest), lease_id=lease.lease_id, token=1))
        assert stale.value.code() is grpc.StatusCode.ABORTED


async def test_a_job_runs_and_its_rows_wait_until_acknowledged(
    tmp_path: Path, unix_listener: UnixListener
) -> None:
    execute = ScriptedExecute()
    execute.go_on.set()
    async with (
        running_agent(tmp_path / "s", listener=unix_listener, execute=execute) as (agent, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        manifest, blobs = make_artifact()
        lease = await acquire(channel, "ci")
        spec = make_spec(digest(manifest), lease_id=lease.lease_id, token=lease.fencing_token, trials=2)
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await submit(channel, spec)
        assert missing.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        for data in (manifest, *blobs.values()):
            await upload(channel, data)
        job_id = await submit(channel, spec)
        events = await watch(channel, job_id)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert events[-1].state == job_pb2.JOB_STATE_SUCCEEDED
        assert await submit(channel, spec) == job_id
        rows = await fetch(channel)
        assert [row.sequence for row in rows] == [1, 2]
        client = stub(run_pb2_grpc.SpoolServiceStub, channel)
        with pytest.raises(grpc.aio.AioRpcError) as wrong:
            await client.Acknowledge(run_pb2.AcknowledgeRequest(epoch="other", up_to_sequence=2))
        assert wrong.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        left = await client.Acknowledge(
            run_pb2.AcknowledgeRequest(epoch=rows[0].epoch, up_to_sequence=rows[0].sequence)
        )
        assert left.remaining_count == 1
        assert [row.sequence for row in await fetch(channel)] == [2]
        jobs = stub(job_pb2_grpc.JobServiceStub, channel)
        cancelled = await jobs.Cancel(job_pb2.CancelRequest(job_id=job_id))
        assert cancelled.job.state == job_pb2.JOB_STATE_SUCCEEDED
        assert agent.jobs.get(job_id).state is JobState.SUCCEEDED


async def test_health_answers_for_every_service(served: tuple[Agent, Channel]) -> None:
    client = stub(health_pb2_grpc.HealthStub, served[1])
    for service in ("", *SERVICES):
        answer = await client.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service


async def test_reflection_lists_the_services(served: tuple[Agent, Channel]) -> None:
    client = stub(reflection_pb2_grpc.ServerReflectionStub, served[1])
    call = client.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answers = [answer async for answer in call]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names >= set(SERVICES)


async def test_the_socket_is_for_its_owner_only(served: tuple[Agent, Channel], tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(UnavailableError, match="listens"):
        UnixListener(path=path).bind(grpc.aio.server())
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(InvalidInputError, match="write into"):
        UnixListener(path=open_to_all / "s").bind(grpc.aio.server())


async def test_a_full_agent_still_answers_health_and_cancel(
    tmp_path: Path, unix_listener: UnixListener
) -> None:
    async with (
        running_agent(tmp_path / "s", listener=unix_listener, ordinary_calls_max=2) as (_, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
        health = stub(health_pb2_grpc.HealthStub, channel)
        watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for call in watching:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await client.ListLeases(lease_pb2.ListLeasesRequest())
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        jobs = stub(job_pb2_grpc.JobServiceStub, channel)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await jobs.Cancel(job_pb2.CancelRequest(job_id="none"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        for call in watching:
            call.cancel()


def _ask(client: Any, number: int, priority: int = 0) -> Any:
    wanted = LeaseRequest(
        request_id=f"w{number}", holder=f"w{number}", wait_timeout_s=600.0, priority=priority
    )
    return client.Acquire(lease_pb2.AcquireRequest(request=to_wire(wanted, lease_pb2.LeaseRequest())))


async def test_waiters_do_not_lock_the_holder_out(served: tuple[Agent, Channel]) -> None:
    agent, channel = served
    held = await acquire(channel, "holder")
    client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
    assert WAITING_CALLS_MAX > ORDINARY_CALLS_MAX
    waiting = [_ask(client, number) for number in range(WAITING_CALLS_MAX)]
    for call in waiting:
        await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as full:
        await _ask(client, WAITING_CALLS_MAX).read()
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Neither reserved nor a waiter's: what a holder does needs an ordinary place.
    assert len((await client.ListLeases(lease_pb2.ListLeasesRequest())).leases) == WAITING_CALLS_MAX + 1
    token = lease_pb2.ReleaseRequest(lease_id=held.lease_id, fencing_token=held.fencing_token)
    assert (await client.Release(token)).lease.state == lease_pb2.LEASE_STATE_RELEASED
    await until(lambda: agent.leases.listing()[0].holder == "w0")
    for call in waiting:
        call.cancel()
    await until(lambda: len(agent.leases.listing()) <= 1)


async def test_a_drained_device_refuses_over_the_wire_and_comes_back(
    served: tuple[Agent, Channel],
) -> None:
    _, channel = served
    client = stub(lease_pb2_grpc.LeaseServiceStub, channel)
    held = await acquire(channel, "holder")
    waiting = _ask(client, 1)
    await waiting.read()
    order = lease_pb2.DrainRequest(reason="new fan", drained_by="anna")
    assert (await client.Drain(order)).availability.state == lease_pb2.AVAILABILITY_STATE_DRAINING
    refused = (await waiting.read()).lease
    assert refused.state == lease_pb2.LEASE_STATE_REFUSED
    assert "anna: new fan" in refused.reason
    renew = lease_pb2.RenewRequest(lease_id=held.lease_id, fencing_token=held.fencing_token)
    assert (await client.Renew(renew)).lease.state == lease_pb2.LEASE_STATE_GRANTED
    await client.Release(lease_pb2.ReleaseRequest(lease_id=held.lease_id, fencing_token=held.fencing_token))
    now = (await client.ListLeases(lease_pb2.ListLeasesRequest())).availability
    assert (now.state, now.drained_by) == (lease_pb2.AVAILABILITY_STATE_DRAINED, "anna")
    assert (await acquire(channel, "late")).state is LeaseState.REFUSED
    answer = await client.Undrain(lease_pb2.UndrainRequest())
    assert answer.availability.state == lease_pb2.AVAILABILITY_STATE_OPEN
    assert (await acquire(channel, "after")).state is LeaseState.GRANTED


async def test_a_start_sweeps_what_killed_runners_left(tmp_path: Path, unix_listener: UnixListener) -> None:
    left = tmp_path / "state" / "scratch" / "0123" / "profile.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    async with running_agent(tmp_path / "state", listener=unix_listener):
        assert not left.exists()


def test_a_state_directory_has_one_agent(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "state")
    with pytest.raises(BusyError, match="another agent"):
        StateLock(tmp_path / "state")
    lock.release()
    StateLock(tmp_path / "state").release()
