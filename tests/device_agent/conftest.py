"""A board that measures nothing, a benchmark that does as it is told, and agents that stand on them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from edgeloop_agent.board import RunnerSession, RunnerStart
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.fitness.vitals import Seen
from edgeloop_agent.job_journal import JobRecord, run_without_measurement
from edgeloop_agent.listen import Listener, UnixListener
from edgeloop_agent.server import SERVER_OPTIONS, Agent, Limits
from edgeloop_agent.telemetry.activity import Activity
from edgeloop_agent.telemetry.options import TelemetryOptions
from edgeloop_foundation.ports.clock import Clock, SystemClock
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem
from edgeloop_protocol.types.job import JobState
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Simulation
from edgeloop_protocol.types.trial import JobSpec, Trial

SMALL = Limits(reserve_bytes=0, store_bytes=1 << 30)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stub(make: Any, channel: grpc.aio.Channel) -> Any:
    """Return a client of one service; generated code carries no types."""
    return make(channel)


async def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until something that happens in threads has happened."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)


class QuietBoard:
    """A board with facts and nothing else."""

    def __init__(self) -> None:
        self.simulation: Simulation | None = None
        self.clock: Clock = SystemClock()

    async def facts(self) -> Facts:
        return Facts(
            device_id="d" * 32,
            name="quiet",
            hardware=Hardware(architecture="x86_64", logical_cores=2, memory_total_bytes=1 << 30),
            operating_system=OperatingSystem(name="Test", kernel="6", python_version="3.11"),
            boot_id="boot-1",
        )

    async def conditions(self) -> Conditions:
        return Conditions(wall_time_s=0.0, monotonic_ns=0)

    async def activity(self) -> Activity:
        return Activity(processors=Seen(), network=Seen(), disk_total_bytes=Seen())

    async def start_runner(self, start: RunnerStart) -> RunnerSession:
        raise AssertionError("no test here starts a runner")


class ScriptedExecute:
    """Stands in for the benchmark: holds until let go or stopped, then returns a row per trial."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.contexts: list[ExecutionContext] = []
        self.obeys = True
        self.blob = b"samples"
        self.fails_with: Exception | None = None
        # Fields of the first trial's row.
        self.poison: dict[str, Any] = {}

    async def __call__(self, context: ExecutionContext) -> tuple[Run, ...]:
        self.contexts.append(context)
        context.report(Progress(trial_id=context.spec.trials[0].trial_id, phase="load", total_count=1))
        self.started.set()
        waits = [asyncio.ensure_future(self.go_on.wait())]
        if self.obeys:
            waits.append(asyncio.ensure_future(context.stop.wait()))  # type: ignore[arg-type]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        if self.fails_with is not None:
            raise self.fails_with
        await context.store_blob(self.blob)
        first, *others = (self._row(context, trial) for trial in context.spec.trials)
        return (dataclasses.replace(first, **self.poison), *others)

    def _row(self, context: ExecutionContext, trial: Trial) -> Run:
        record = JobRecord(
            job_id=context.job_id,
            request_id=context.spec.request_id,
            body_digest="",
            order=1,
            state=JobState.RUNNING,
            fencing_token=1,
            spec=context.spec,
            device_id=context.device_id,
            device_name=context.device_name,
            boot_id=context.boot_id,
            agent_version=context.agent_version,
            accepted_wall_s=0.0,
        )
        stop = context.stop.reason
        kind = {Outcome.CANCELLED: FailureKind.CANCELLED, Outcome.TIMEOUT: FailureKind.DEADLINE}
        return run_without_measurement(
            record, trial, stop or Outcome.SUCCESS, kind[stop] if stop else FailureKind.NONE, ""
        )


def make_artifact(label: str = "m") -> tuple[bytes, dict[str, bytes]]:
    """Return a manifest and the blobs it names, by digest."""
    content = f"model {label}".encode()
    artifact = Artifact(
        format="onnx",
        label=label,
        files=(FileEntry(name="model.onnx", digest=digest(content), size_bytes=len(content)),),
        model_file="model.onnx",
        source_digest=digest(content),
    )
    return to_canonical_json(artifact), {digest(content): content}


def make_spec(
    artifact_digest: str, *, lease_id: str = "", token: int = 0, trials: int = 1, deadline_s: float = 60.0
) -> JobSpec:
    return JobSpec(
        request_id=str(uuid.uuid4()),
        lease_id=lease_id,
        fencing_token=token,
        trials=tuple(
            Trial(trial_id=f"t{i}", label=f"trial {i}", artifact_digest=artifact_digest)
            for i in range(trials)
        ),
        deadline_s=deadline_s,
    )


StartAgent = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Agent, str]]]


@contextlib.asynccontextmanager
async def running_agent(
    state: Path,
    *,
    listener: Listener,
    execute: ScriptedExecute | None = None,
    fs: FileSystem | None = None,
    limits: Limits = SMALL,
    options: tuple[tuple[str, int], ...] = SERVER_OPTIONS,
    ordinary_calls_max: int = 16,
    clock: Clock | None = None,
    telemetry: TelemetryOptions | None = None,
) -> AsyncIterator[tuple[Agent, str]]:
    agent = Agent(
        fs=fs or OsFileSystem(),
        clock=clock or SystemClock(),
        state_directory=state,
        board=QuietBoard(),
        execute=execute or ScriptedExecute(),
        boot_id="boot-1",
        limits=limits,
        options=options,
        ordinary_calls_max=ordinary_calls_max,
        telemetry=telemetry,
    )
    address = await agent.start(listener)
    try:
        yield agent, address
    finally:
        await agent.stop()


@pytest.fixture
def unix_listener(tmp_path: Path) -> UnixListener:
    return UnixListener(path=tmp_path / "run" / "agent.sock")


@pytest.fixture
async def served(
    tmp_path: Path, unix_listener: UnixListener
) -> AsyncIterator[tuple[Agent, grpc.aio.Channel]]:
    """A running agent and a channel to it."""
    async with (
        running_agent(tmp_path / "state", listener=unix_listener) as (agent, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield agent, channel


class SlowDisk(SimulatedFileSystem):
    """A disk that can take its time over the files of one directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._slow = directory
        self.holds = threading.Event()
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        """Let the next file that is created there wait."""
        self._free.clear()

    def let_go(self) -> None:
        """Let it go on."""
        self._free.set()

    def create(self, path: Path) -> Any:
        """Create a file, sooner or later."""
        if path.parent == self._slow and not self._free.is_set():
            self.holds.set()
            self._free.wait(5)
        return super().create(path)
