"""An agent in memory that speaks the real wire, and a TCP proxy that breaks it on demand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from edgeloop.transport.client import AgentClient, RetryPolicy
from edgeloop.transport.rpc.channel import open_channel
from edgeloop_protocol import PROTOCOL_VERSION
from edgeloop_protocol.convert import digest_of, from_wire, to_canonical_json, to_wire
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.facts import Facts, Hardware, Hello, OperatingSystem
from edgeloop_protocol.types.job import Job, JobEvent, JobState
from edgeloop_protocol.types.lease import Lease, LeaseRequest, LeaseState
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Source, SpooledRun
from edgeloop_protocol.types.trial import Benchmark, JobSpec, Trial
from edgeloop_protocol.v1 import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    content_addressable_storage_pb2,
    content_addressable_storage_pb2_grpc,
    device_pb2,
    device_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    lease_pb2,
    lease_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
)

FAST = RetryPolicy(attempt_count=6, base_s=0.01, cap_s=0.05, stall_s=2.0)

RUNNING = Job(job_id="job-1", request_id="r", state=JobState.RUNNING, last_sequence=99)


def make_run(trial: Trial, spec: JobSpec, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "run_id": f"run-{spec.request_id}-{trial.trial_id}",
        "source": Source.MEASURED,
        "device_id": "d",
        "device_name": "bench",
        "boot_id": "b",
        "agent_version": "0",
        "job_id": "job-1",
        "request_id": spec.request_id,
        "lease_id": spec.lease_id,
        "trial": trial,
        "benchmark": spec.benchmark,
        "started_wall_s": 1.0,
        "duration_s": 1.0,
        "outcome": Outcome.SUCCESS,
    }
    return Run(**{**values, **changes})


@dataclass
class Script:
    """What the agent in memory is to do, and what happened to it."""

    protocol_version: int = PROTOCOL_VERSION
    capabilities: tuple[str, ...] = ("blobs", "jobs", "time-travel")
    commit_bytes: int = 1 << 20
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    write_offsets: list[int] = field(default_factory=list)
    write_status: grpc.StatusCode | None = None
    write_conflicts: list[grpc.StatusCode] = field(default_factory=list)
    lease_states: list[list[LeaseState]] = field(default_factory=lambda: [[LeaseState.GRANTED]])
    lease_requests: list[LeaseRequest] = field(default_factory=list)
    renew_status: grpc.StatusCode | None = None
    renew_asked: int = 0
    renewed: int = 0
    released: list[str] = field(default_factory=list)
    specs: dict[str, JobSpec] = field(default_factory=dict)
    events: list[JobEvent] = field(default_factory=list)
    watch_breaks: list[int] = field(default_factory=list)
    watched_from: list[int] = field(default_factory=list)
    job: Job = RUNNING
    cancelled: list[str] = field(default_factory=list)
    spool: list[SpooledRun] = field(default_factory=list)
    fetch_breaks: list[int] = field(default_factory=list)
    acknowledge_failures: int = 0
    acknowledged: list[tuple[str, int]] = field(default_factory=list)


class _Device(device_pb2_grpc.DeviceServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def SayHello(self, request: Any, context: Any) -> Any:
        answer = device_pb2.SayHelloResponse()
        hello = Hello(
            protocol_version=self.script.protocol_version,
            software_version="9.9",
            capabilities=self.script.capabilities,
        )
        to_wire(hello, answer.hello)
        return answer

    async def Describe(self, request: Any, context: Any) -> Any:
        answer = device_pb2.DescribeResponse()
        facts = Facts(
            device_id="d",
            name="bench",
            hardware=Hardware(architecture="x86_64", logical_cores=2, memory_total_bytes=1 << 30),
            operating_system=OperatingSystem(name="Debian", kernel="6", python_version="3.11"),
        )
        to_wire(facts, answer.facts)
        return answer


class _Blobs(
    content_addressable_storage_pb2_grpc.ContentAddressableStorageServicer,
    bytestream_pb2_grpc.ByteStreamServicer,
):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def FindMissingBlobs(self, request: Any, context: Any) -> Any:
        answer = content_addressable_storage_pb2.FindMissingBlobsResponse()
        answer.missing_blob_digests.extend(d for d in request.blob_digests if d.hash not in self.script.blobs)
        return answer

    async def QueryWriteStatus(self, request: Any, context: Any) -> Any:
        _, _, _, digest, size = request.resource_name.split("/")
        if digest in self.script.blobs:
            return bytestream_pb2.QueryWriteStatusResponse(committed_size=int(size), complete=True)
        if request.resource_name not in self.script.uploads:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such upload")
        held = len(self.script.uploads[request.resource_name])
        return bytestream_pb2.QueryWriteStatusResponse(committed_size=held)

    async def Write(self, requests: AsyncIterator[Any], context: Any) -> Any:
        data: bytearray | None = None
        name = ""
        try:
            async for request in requests:
                if self.script.write_conflicts:
                    await context.abort(self.script.write_conflicts.pop(), "it has a writer already")
                if self.script.write_status is not None:
                    await context.abort(self.script.write_status, "the disk is full")
                name = name or request.resource_name
                if data is None:
                    data = self.script.uploads.setdefault(name, bytearray())
                    self.script.write_offsets.append(request.write_offset)
                if request.write_offset != len(data):
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong offset")
                data += request.data
                if request.finish_write:
                    return await self._finish(name, data, context)
        except asyncio.CancelledError:
            if data is not None:
                del data[len(data) - len(data) % self.script.commit_bytes :]
            raise
        return bytestream_pb2.WriteResponse(committed_size=len(data or b""))

    async def _finish(self, name: str, data: bytearray, context: Any) -> Any:
        digest = name.split("/")[3]
        if hashlib.sha256(data).hexdigest() != digest:
            del self.script.uploads[name]
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes have another digest")
        self.script.blobs[digest] = bytes(data)
        return bytestream_pb2.WriteResponse(committed_size=len(data))

    async def Read(self, request: Any, context: Any) -> AsyncIterator[Any]:
        _, digest, _ = request.resource_name.split("/")
        if digest not in self.script.blobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
        data = self.script.blobs[digest][request.read_offset :]
        for start in range(0, len(data), 1 << 16):
            yield bytestream_pb2.ReadResponse(data=data[start : start + (1 << 16)])


class _Leases(lease_pb2_grpc.LeaseServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def Acquire(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.script.lease_requests.append(from_wire(request.request, LeaseRequest))
        states = self.script.lease_states
        for state in states.pop(0) if len(states) > 1 else states[0]:
            lease = Lease(
                lease_id="lease-1",
                state=state,
                holder=request.request.holder,
                fencing_token=7,
                current_holder="somebody@ci" if state is not LeaseState.GRANTED else "",
                current_expires_in_s=12.0 if state is not LeaseState.GRANTED else 0.0,
            )
            answer = lease_pb2.AcquireResponse()
            to_wire(lease, answer.lease)
            yield answer
        if state is LeaseState.QUEUED:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def Renew(self, request: Any, context: Any) -> Any:
        self.script.renew_asked += 1
        if self.script.renew_status is not None:
            await context.abort(self.script.renew_status, "the lease has expired")
        self.script.renewed += 1
        answer = lease_pb2.RenewResponse()
        to_wire(Lease(lease_id=request.lease_id, state=LeaseState.GRANTED, holder="h"), answer.lease)
        return answer

    async def Release(self, request: Any, context: Any) -> Any:
        self.script.released.append(request.lease_id)
        answer = lease_pb2.ReleaseResponse()
        to_wire(Lease(lease_id=request.lease_id, state=LeaseState.RELEASED, holder="h"), answer.lease)
        return answer


class _Jobs(job_pb2_grpc.JobServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    def _answer(self, answer: Any) -> Any:
        to_wire(self.script.job, answer.job)
        return answer

    async def Submit(self, request: Any, context: Any) -> Any:
        spec = from_wire(request.spec, JobSpec)
        known = self.script.specs.setdefault(spec.request_id, spec)
        if known != spec:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "the request id belongs to another job")
        return self._answer(job_pb2.SubmitResponse())

    async def GetJob(self, request: Any, context: Any) -> Any:
        return self._answer(job_pb2.GetJobResponse())

    async def Cancel(self, request: Any, context: Any) -> Any:
        self.script.cancelled.append(request.job_id)
        return self._answer(job_pb2.CancelResponse())

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.script.watched_from.append(request.after_sequence)
        stop = self.script.watch_breaks.pop(0) if self.script.watch_breaks else None
        for event in self.script.events:
            if event.sequence <= request.after_sequence:
                continue
            if stop is not None and event.sequence > stop:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            answer = job_pb2.WatchResponse()
            to_wire(event, answer.event)
            yield answer
        if not self.script.events:
            await asyncio.sleep(60)


class _Spool(run_pb2_grpc.SpoolServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def Fetch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        stop = self.script.fetch_breaks.pop(0) if self.script.fetch_breaks else None
        sent = 0
        for spooled in self.script.spool:
            if spooled.sequence <= request.after_sequence:
                continue
            if stop is not None and sent >= stop:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            answer = run_pb2.FetchResponse()
            to_wire(spooled, answer.spooled_run)
            sent += 1
            yield answer

    async def Acknowledge(self, request: Any, context: Any) -> Any:
        if self.script.acknowledge_failures:
            self.script.acknowledge_failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        self.script.acknowledged.append((request.epoch, request.up_to_sequence))
        self.script.spool = [s for s in self.script.spool if s.sequence > request.up_to_sequence]
        return run_pb2.AcknowledgeResponse(remaining_count=len(self.script.spool))


class FaultProxy:
    """Passes TCP on to a port and breaks connections after a number of bytes towards it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0
        #: Bytes towards the agent after which each connection in turn breaks.
        self.breaks: list[int] = []
        self.broken = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.append(up_writer)
            back = asyncio.create_task(self._pump(up_reader, writer, None))
            try:
                await self._pump(reader, up_writer, self.breaks.pop(0) if self.breaks else None)
            finally:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
                for end in (writer, up_writer):
                    _reset(end)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None
    ) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                passed += len(data)
                if budget is not None and passed > budget:
                    self.broken += 1
                    return
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        # SO_LINGER 0: the other side sees a reset, as when a link or a machine dies.
        raw.setsockopt(1, 13, struct.pack("ii", 1, 0))
    writer.transport.abort()


def add_services(script: Script, server: grpc.aio.Server) -> None:
    blobs = _Blobs(script)
    store = content_addressable_storage_pb2_grpc
    adders: list[tuple[Any, Any]] = [
        (device_pb2_grpc.add_DeviceServiceServicer_to_server, _Device(script)),
        (store.add_ContentAddressableStorageServicer_to_server, blobs),
        (bytestream_pb2_grpc.add_ByteStreamServicer_to_server, blobs),
        (lease_pb2_grpc.add_LeaseServiceServicer_to_server, _Leases(script)),
        (job_pb2_grpc.add_JobServiceServicer_to_server, _Jobs(script)),
        (run_pb2_grpc.add_SpoolServiceServicer_to_server, _Spool(script)),
    ]
    for add, servicer in adders:
        add(servicer, server)


@dataclass
class FakeAgent:
    script: Script
    server: grpc.aio.Server
    port: int

    def client(self, port: int | None = None, **options: Any) -> AgentClient:
        address = f"127.0.0.1:{port or self.port}"
        options.setdefault("policy", FAST)
        return AgentClient(open_channel(address), device="bench", address=address, **options)


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    script = Script()
    server = grpc.aio.server()
    add_services(script, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield FakeAgent(script, server, port)
    await server.stop(0)


@pytest.fixture
async def client(agent: FakeAgent) -> AsyncIterator[AgentClient]:
    client = agent.client()
    yield client
    await client.close()


@pytest.fixture
async def proxy(agent: FakeAgent) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(agent.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


class DirectoryStore:
    """Artifacts in a directory, enough of the store for a push."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, manifest: Artifact, files: Mapping[str, Path]) -> str:
        digest = digest_of(manifest)
        self.blob(digest).write_bytes(to_canonical_json(manifest))
        for entry in manifest.files:
            self.blob(entry.digest).write_bytes(files[entry.name].read_bytes())
        return digest

    def manifest(self, digest: str) -> Artifact:
        from edgeloop_protocol.convert import from_json

        return from_json(self.blob(digest).read_bytes(), Artifact)

    def directory(self, digest: str) -> Path:
        raise NotImplementedError

    def blob(self, digest: str) -> Path:
        return self._root / digest

    def digests(self) -> list[str]:
        raise NotImplementedError


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., tuple[str, DirectoryStore]]:
    def make(*contents: bytes) -> tuple[str, DirectoryStore]:
        entries, files = [], {}
        for number, content in enumerate(contents):
            name = f"file{number}.bin"
            files[name] = tmp_path / name
            files[name].write_bytes(content)
            entries.append(
                FileEntry(name=name, digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
            )
        manifest = Artifact(
            format="onnx",
            label="test",
            files=tuple(entries),
            model_file="file0.bin",
            source_digest="0" * 64,
        )
        root = tmp_path / "store"
        root.mkdir(exist_ok=True)
        store = DirectoryStore(root)
        return store.put(manifest, files), store

    return make


@pytest.fixture
def spec() -> JobSpec:
    trials = tuple(Trial(trial_id=t, label=t, artifact_digest="0" * 64) for t in ("first", "second"))
    return JobSpec(
        request_id="request-1",
        lease_id="lease-1",
        fencing_token=7,
        trials=trials,
        benchmark=Benchmark(rounds=1),
        deadline_s=30.0,
    )


@pytest.fixture
def interrupted(spec: JobSpec) -> Callable[[Trial], Run]:
    return lambda trial: make_run(
        trial,
        spec,
        outcome=Outcome.HARNESS_ERROR,
        failure_kind=FailureKind.INTERRUPTED,
        failure_reason="the agent was restarted",
    )


@pytest.fixture
def run_of(spec: JobSpec) -> Callable[..., Run]:
    return lambda trial, **changes: make_run(trial, spec, **changes)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Any]:
    async def wait(condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < give_up, "it did not come"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def serve_tls() -> AsyncIterator[Callable[..., Any]]:
    servers: list[grpc.aio.Server] = []

    def credentials_of(authority: Any, certificate: Path, key: Path) -> grpc.ServerCredentials:
        pair = (key.read_bytes(), certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], authority.ca.read_bytes(), True)

    async def serve(authority: Any, certificate: Path, key: Path) -> int:
        server = grpc.aio.server()
        add_services(Script(), server)
        credentials = credentials_of(authority, certificate, key)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        servers.append(server)
        return int(port)

    yield serve
    for server in servers:
        await server.stop(0)
