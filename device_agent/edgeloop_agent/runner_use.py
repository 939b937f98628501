"""One runner process for one purpose of one trial: started, opened, asked, and always dead at the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import FailureKind, Outcome

from edgeloop_agent.benchmark import OVERRUN_MAX
from edgeloop_agent.board import Board, RunnerSession, RunnerStart, open_arguments
from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.phases import phase
from edgeloop_agent.runner_process import Reply
from edgeloop_agent.scenarios import OVERTIME
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["RunnerUse", "TimedReply", "allowance_s", "making_spare", "memory_limit", "stopped", "use_runner"]

_GIB = 1 << 30
_THREAD_BYTES = 144 << 20
_CPU_SLACK_S = 2
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class TimedReply:
    """An answer and how long it took by the agent's clock."""

    reply: Reply
    elapsed_ns: int


def memory_limit(artifact: Artifact, threads: int, batch_size: int) -> int:
    """Return the default limit of a runner's address space in bytes.

    Generous, because reserved addresses are not memory: a runtime maps its libraries, a stack and an
    allocation arena per thread, and copies weights when it rearranges them.
    """
    activations = 8 * batch_size * artifact.activation_peak_bytes
    golden = sum(entry.size_bytes for entry in artifact.files if entry.name == artifact.golden_file)
    model = 4 * artifact.model_size_bytes
    # A golden pack may be compressed, and parity holds inputs, outputs and their float64 copies.
    return 2 * _GIB + model + activations + 16 * golden + threads * _THREAD_BYTES


def stopped(context: ExecutionContext) -> RunnerFailure:
    """Return what a job that was asked to stop says in its rows."""
    reason = context.stop.reason or Outcome.CANCELLED
    if reason is Outcome.TIMEOUT:
        sentence = f"the job's deadline of {context.spec.deadline_s:g} s passed."
        return RunnerFailure(reason, FailureKind.DEADLINE, sentence)
    if reason is Outcome.CANCELLED:
        return RunnerFailure(reason, FailureKind.CANCELLED, "the job was cancelled.")
    return RunnerFailure(reason, FailureKind.INTERRUPTED, "the job was interrupted.")


class RunnerUse:
    """One runner process of one trial under the runner's deadline and the job's stop signal."""

    def __init__(
        self, context: ExecutionContext, record: TrialRecord, start: RunnerStart, session: RunnerSession
    ) -> None:
        self._context, self._record = context, record
        self._start, self._session = start, session
        self._started_ns = context.wall_clock.monotonic_ns()

    @property
    def pid(self) -> int | None:
        """Process of the session on this machine; None when there is none."""
        return self._session.pid

    @classmethod
    async def begin(
        cls,
        context: ExecutionContext,
        record: TrialRecord,
        purpose: str,
        *,
        round_index: int = 0,
        cold: bool = False,
    ) -> RunnerUse:
        """Start the process; nothing is loaded yet, and the caller has to close it.

        Raises:
            RunnerFailure: it could not be started, or the job is to stop.
        """
        if context.stop.reason is not None:
            raise stopped(context)
        if record.started_wall_s is None:
            record.started_wall_s = context.wall_clock.wall_s()
        start = _start(context, record, purpose, round_index, cold)
        before = context.board.clock.monotonic_ns()
        session = await context.board.start_runner(start)
        record.spent_ns += context.board.clock.monotonic_ns() - before
        return cls(context, record, start, session)

    async def prepare(self) -> None:
        """Let the process import what loading will need; the same for every model.

        Raises:
            RunnerFailure: as ``request``.
        """
        await self.request("prepare", {"settings": open_arguments(self._start)["settings"]})

    async def open(self, round_index: int = -1) -> dict[str, Any]:
        """Open the trial's artifact and return the answer's header.

        Raises:
            RunnerFailure: as ``request``.
        """
        record, board = self._record, self._context.board
        with phase(board.clock, record.phases, "load", round_index):
            opened = (await self.request("open", open_arguments(self._start))).reply.header
        record.note_own_limits(opened)
        record.runtime_version = str(opened.get("runtime_version", ""))
        record.note_prediction(board.simulation, opened)
        return opened

    async def request(self, command: str, arguments: dict[str, Any]) -> TimedReply:
        """Send one command; give up at once when the job is asked to stop.

        Raises:
            RunnerFailure: what the runner did, its deadline, or the stop.
        """
        if self._context.stop.reason is not None:
            raise stopped(self._context)
        clock = self._context.board.clock
        before = clock.monotonic_ns()
        asking = asyncio.ensure_future(self._timed(command, arguments))
        stopping = asyncio.ensure_future(self._context.stop.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise stopped(self._context)
            return asking.result()
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)
            self._record.spent_ns += clock.monotonic_ns() - before

    async def _timed(self, command: str, arguments: dict[str, Any]) -> TimedReply:
        spent_s = (self._context.wall_clock.monotonic_ns() - self._started_ns) * _NS
        clock = self._context.board.clock
        before = clock.monotonic_ns()
        deadline_s = self._context.spec.runner_deadline_s + allowance_s(self._context, self._start.purpose)
        reply = await self._session.request(command, arguments, max(deadline_s - spent_s, 0.0))
        return TimedReply(reply, clock.monotonic_ns() - before)

    def note_log(self) -> None:
        """Keep the last lines that it wrote: it is what failed."""
        self._record.log_tail = self._session.log_tail()

    async def close(self) -> None:
        """Kill the process; safe to call twice."""
        await self._session.close()
        self._record.isolation = self._session.isolation


@contextlib.asynccontextmanager
async def use_runner(
    context: ExecutionContext, record: TrialRecord, purpose: str, *, round_index: int = -1, cold: bool = False
) -> AsyncIterator[tuple[RunnerUse, dict[str, Any]]]:
    """Start a runner, open the trial's artifact in it and yield it with the answer to ``open``.

    Whatever happens, the process is dead afterwards and the record knows version, isolation, log and time
    spent.

    Raises:
        RunnerFailure: it could not be started, or the artifact could not be opened.
    """
    use = await RunnerUse.begin(context, record, purpose, round_index=max(round_index, 0), cold=cold)
    try:
        yield use, await use.open(round_index)
    except RunnerFailure:
        use.note_log()
        raise
    finally:
        await use.close()


@contextlib.asynccontextmanager
async def making_spare(board: Board) -> AsyncIterator[None]:
    """Have ready what the next runner waits for, beside something that nothing is timed in; over when both are."""
    making = asyncio.ensure_future(board.keep_spare())
    try:
        yield
        await making
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


def allowance_s(context: ExecutionContext, purpose: str) -> float:
    """Return how much longer than the runner's deadline a process of this purpose may live: it was asked to."""
    benchmark = context.spec.benchmark
    if purpose == "sustained":
        return benchmark.sustained_s
    if purpose == "scenario":
        # Twice: a server that is too slow for its rate answers long after the last query was sent.
        return 2.0 * OVERTIME * benchmark.scenario_s_min
    if purpose == "latency" and benchmark.interleave == "batch":
        # It waits while the others have their turns.
        others = len(context.spec.trials) - 1
        return others * OVERRUN_MAX * benchmark.steady_s_max / benchmark.rounds
    return 0.0


def _start(
    context: ExecutionContext, record: TrialRecord, purpose: str, round_index: int, cold: bool
) -> RunnerStart:
    directory, artifact = record.opened()
    spec, settings = context.spec, record.trial.settings
    # Golden items are compared one by one; everything else runs at the benchmark's batch size.
    batch_size = 1 if purpose == "parity" else spec.benchmark.batch_size
    threads = settings.intra_op_threads + settings.inter_op_threads
    seed = random.Random(f"{spec.benchmark.seed}/{record.trial.trial_id}/{purpose}/{round_index}")  # noqa: S311
    return RunnerStart(
        artifact_directory=directory,
        artifact=artifact,
        settings=settings,
        batch_size=batch_size,
        memory_bytes=spec.runner_memory_bytes or memory_limit(artifact, threads, batch_size),
        cpu_s=int((spec.runner_deadline_s + allowance_s(context, purpose)) * threads) + _CPU_SLACK_S,
        seed=seed.getrandbits(31),
        purpose=purpose,
        drop_page_cache=cold,
    )
