"""Jobs: one at a time, under a lease, to an end that is always reached and always on record.

Rules:
- A state is on the disk before it is acted upon; what the table does not hold cannot happen.
- The same request with the same body is the same job, also after a restart; another body is refused.
- Every trial of every job yields exactly one run. Runs are in the spool before the job is said to be over.
- A job that an earlier process left unfinished is INTERRUPTED; trials without a run get one that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    CorruptDataError,
    EdgeloopError,
    LeaseError,
    NotFoundError,
)
from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.convert import digest_of
from edgeloop_protocol.types.job import TERMINAL, Job, JobEvent, JobState
from edgeloop_protocol.types.run import FailureKind, Outcome, Run
from edgeloop_protocol.types.trial import JobSpec

from edgeloop_agent import __version__
from edgeloop_agent.active_job import ActiveJob
from edgeloop_agent.cool_down import Rests
from edgeloop_agent.deliverable import deliverable
from edgeloop_agent.execution import Execute, ExecutionContext, Progress
from edgeloop_agent.job_journal import JobJournal, JobRecord, run_without_measurement
from edgeloop_agent.job_table import ROW_WITHOUT, JobTransition, next_state
from edgeloop_agent.leases import Leases
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.spec_rules import check_spec
from edgeloop_agent.spool import Spool
from edgeloop_agent.store import ContentStore
from edgeloop_agent.workspace import Workspace

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["Jobs"]

_KEPT_COUNT = 200
_STOP_GRACE_S = 5.0
_RETRY_S = 1.0
_SPOOL_ROOM_BYTES = 16 * 1024 * 1024

_log = logging.getLogger(__name__)


def _refusal(operation: Callable[[], object]) -> OSError | None:
    try:
        operation()
    except OSError as error:
        return error
    return None


class Jobs:
    """The jobs of one device; every method runs on the one loop, disk work goes to threads."""

    def __init__(
        self,
        *,
        journal: JobJournal,
        clock: Clock,
        board: Board,
        store: ContentStore,
        workspace: Workspace,
        spool: Spool,
        leases: Leases,
        rests: Rests,
        quarantine: Quarantine,
        execute: Execute,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._board = board
        self._store = store
        self._workspace = workspace
        self._spool = spool
        self._leases = leases
        self._rests = rests
        self._quarantine = quarantine
        self._execute = execute
        self._records: dict[str, JobRecord] = {}
        self._active: ActiveJob | None = None
        self._submitting = asyncio.Lock()
        self._stopping = False
        store.add_pin_source(self._pinned)
        leases.on_end(self.end_lease)

    def _pinned(self) -> frozenset[str]:
        active = self._active
        return active.pins if active else frozenset()

    def open(self) -> None:
        """Read the jobs of earlier processes and bring the unfinished ones to their end; blocks."""
        for record in self._journal.load():
            if record.state not in TERMINAL:
                record = self._recover(record)
            self._records[record.job_id] = record
        self._prune()

    @property
    def highest_fencing_token(self) -> int:
        """Highest token that a known job was submitted under."""
        return max((record.fencing_token for record in self._records.values()), default=0)

    @property
    def running(self) -> JobEvent | None:
        """Latest event of the job that is not over; None when there is none."""
        active = self._active
        if active is None:
            return None
        if active.events:
            return active.events[-1]
        return JobEvent(job_id=active.record.job_id, sequence=0, state=active.record.state)

    def _recover(self, record: JobRecord) -> JobRecord:
        trials = record.spec.trials if record.spec else ()
        # Only this job wrote to the spool since the number was noted: the difference is what it had kept.
        first = min(record.first_spool_sequence or self._spool.next_sequence, self._spool.next_sequence)
        kept_count = min(self._spool.next_sequence - first, len(trials))
        final = record.final_state
        if kept_count < len(trials) or final is None:
            final = next_state(record.state, JobTransition.INTERRUPT)
        reason = record.reason
        if final is JobState.INTERRUPTED:
            reason = "the agent ended while the job ran"
        record = dataclasses.replace(record, first_spool_sequence=first, final_state=final, reason=reason)
        self._journal.write(record)
        for trial in trials[kept_count:]:
            self._spool.append(
                run_without_measurement(
                    record, trial, Outcome.DEVICE_ERROR, FailureKind.INTERRUPTED, f"{reason}."
                )
            )
        record = dataclasses.replace(record, state=final, last_sequence=record.last_sequence + 1)
        self._journal.write(record)
        return dataclasses.replace(record, spec=None)

    async def submit(self, spec: JobSpec) -> Job:
        """Accept a job or refuse it at once.

        Raises:
            InvalidInputError: the spec or an artifact cannot be used.
            AlreadyExistsError: the request id was used with another body.
            LeaseError: not under the lease in force.
            BusyError: another job runs, or the disk is too full for results.
            StateError: blobs are missing.
        """
        check_spec(spec)
        # Shielded: a client that goes away must not leave a job on the disk that nobody runs.
        return await asyncio.shield(self._submit(spec, digest_of(spec)))

    async def _submit(self, spec: JobSpec, body_digest: str) -> Job:
        async with self._submitting:
            if (known := self._by_request(spec.request_id)) is not None:
                if known.body_digest != body_digest:
                    raise AlreadyExistsError(
                        f"request {spec.request_id} was a different job.", next_step="Use a new request id."
                    )
                return self._job(known)
            self._leases.check(spec.lease_id, spec.fencing_token)
            if self._active is not None:
                raise BusyError(
                    f"job {self._active.record.job_id} still runs.",
                    next_step="Wait for its end or cancel it.",
                )
            record = await self._accept(spec, body_digest)
            active = self._active = ActiveJob(record, spec)
        active.report(Progress(message="accepted"))
        try:
            self._leases.check(spec.lease_id, spec.fencing_token)
        except LeaseError:
            await self._cancel(active, "its lease ended")
        active.task = asyncio.create_task(self._run(active), name=f"job {record.job_id}")
        return self._job(active.record)

    def _job(self, record: JobRecord) -> Job:
        rule = self._rests.rule
        return dataclasses.replace(record.job(), rest_s_max=rule.limit_s if rule else 0.0)

    def _by_request(self, request_id: str) -> JobRecord | None:
        if self._active is not None and self._active.record.request_id == request_id:
            return self._active.record
        return next((r for r in self._records.values() if r.request_id == request_id), None)

    async def _accept(self, spec: JobSpec, body_digest: str) -> JobRecord:
        await asyncio.to_thread(self._spool.require_space)
        await asyncio.to_thread(self._workspace.require, {trial.artifact_digest for trial in spec.trials})
        facts = await self._board.facts()
        if self._stopping:
            raise BusyError("the agent is stopping.", next_step="Submit again when it is back.")
        record = JobRecord(
            job_id=str(uuid.uuid4()),
            request_id=spec.request_id,
            body_digest=body_digest,
            order=max((r.order for r in self._records.values()), default=0) + 1,
            state=JobState.ACCEPTED,
            fencing_token=spec.fencing_token,
            spec=spec,
            device_id=facts.device_id,
            device_name=facts.name,
            boot_id=facts.boot_id,
            agent_version=__version__,
            simulation=self._board.simulation,
            emulation=facts.emulation,
            accepted_wall_s=self._clock.wall_s(),
        )
        await asyncio.to_thread(self._journal.write, record)
        return record

    def get(self, job_id: str) -> Job:
        """Return a job as it stands.

        Raises:
            NotFoundError: no such job.
        """
        return self._record(job_id).job()

    def _record(self, job_id: str) -> JobRecord:
        if self._active is not None and self._active.record.job_id == job_id:
            return self._active.record
        try:
            return self._records[job_id]
        except KeyError:
            raise NotFoundError(f"job {job_id[:80]!r} is unknown; the last {_KEPT_COUNT} are kept.") from None

    async def watch(self, job_id: str, after_sequence: int) -> AsyncGenerator[JobEvent, None]:
        """Yield events beyond ``after_sequence``; the last one is always the terminal one.

        Raises:
            NotFoundError: no such job.
        """
        self._record(job_id)
        active = self._active
        if active is None or active.record.job_id != job_id:
            yield self._terminal_event(self._records[job_id], after_sequence)
            return
        while True:
            active.changed.clear()
            for event in [event for event in active.events if event.sequence > after_sequence]:
                after_sequence = event.sequence
                yield event
                if event.state in TERMINAL:
                    return
            if active.over.is_set():
                yield self._terminal_event(active.record, after_sequence)
                return
            # Not by the flag: another watcher may have cleared it for an event that this one has not seen.
            if active.record.last_sequence <= after_sequence:
                await active.changed.wait()

    def _terminal_event(self, record: JobRecord, after_sequence: int) -> JobEvent:
        # A restart forgets how far the events had come; the client knows, and its numbers must go on rising.
        sequence = max(record.last_sequence, min(after_sequence, 2**62) + 1)
        return JobEvent(
            job_id=record.job_id, sequence=sequence, state=record.state, phase="done", message=record.reason
        )

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; without effect on one that is over.

        Raises:
            NotFoundError: no such job.
        """
        record = self._record(job_id)
        active = self._active
        if active is None or active.record.job_id != job_id:
            next_state(record.state, JobTransition.CANCEL)
            return record.job()
        await self._cancel(active, "somebody cancelled it")
        return active.record.job()

    async def _cancel(self, active: ActiveJob, reason: str) -> None:
        # Shielded: a client that goes away must not leave a job that is said to stop and is never told.
        await asyncio.shield(self._tell_to_stop(active, reason))

    async def _tell_to_stop(self, active: ActiveJob, reason: str) -> None:
        async with active.lock:
            if active.finishing or active.record.state is JobState.CANCELLING:
                return
            await self._move(active, JobTransition.CANCEL)
            active.stop_reason = reason
            active.stop.set(Outcome.CANCELLED)

    async def end_lease(self, lease_id: str, reason: str) -> None:
        """Cancel the job of a lease that is over and wait until the device is free."""
        active = self._active
        if active is None or active.spec.lease_id != lease_id:
            return
        await self._cancel(active, f"its lease is over: {reason}")
        await active.over.wait()

    async def stop(self) -> None:
        """Interrupt the running job, if any, and wait until that is on record."""
        self._stopping = True
        async with self._submitting:
            active = self._active
        if active is not None and active.task is not None:
            if not active.finishing:
                active.task.cancel()
            await active.over.wait()

    async def _move(self, active: ActiveJob, event: JobTransition) -> None:
        state = next_state(active.record.state, event)
        record = dataclasses.replace(active.record, state=state)
        await asyncio.to_thread(self._journal.write, record)
        # Events may have been added while the disk was busy.
        active.record = dataclasses.replace(active.record, state=state)
        active.report(Progress(message=state.value))

    async def _run(self, active: ActiveJob) -> None:
        rows: dict[str, Run] = {}
        event, reason = JobTransition.SUCCEED, ""
        deadline: asyncio.Task[None] | None = None
        try:
            active.rest = await self._rests.rest(active.stop, active.report)
            deadline = asyncio.create_task(self._enforce_deadline(active))
            if active.stop.reason is None:
                try:
                    await self._measure(active, rows)
                finally:
                    self._rests.note_work()
            event, reason = self._ending(active)
        except asyncio.CancelledError:
            event, reason = JobTransition.INTERRUPT, "the agent was stopped"
        except Exception as error:  # A fault of ours is a row as well, never a hole.
            _log.exception("job %s failed", active.record.job_id)
            event, reason = JobTransition.FAIL, f"{type(error).__name__}: {error}"
        finally:
            if deadline is not None:
                deadline.cancel()
        await self._finish(active, rows, event, reason)

    async def _enforce_deadline(self, active: ActiveJob) -> None:
        await self._clock.sleep(active.spec.deadline_s)
        active.stop_reason = active.stop_reason or f"its deadline of {active.spec.deadline_s:g} s passed"
        active.stop.set(Outcome.TIMEOUT)

    def _ending(self, active: ActiveJob) -> tuple[JobTransition, str]:
        if active.stop.reason is None:
            return JobTransition.SUCCEED, ""
        if active.stop.reason is Outcome.TIMEOUT:
            return JobTransition.TIME_OUT, active.stop_reason
        return JobTransition.STOPPED, active.stop_reason

    async def _measure(self, active: ActiveJob, rows: dict[str, Run]) -> None:
        directories = await self._lay_out(active, rows)
        async with active.lock:
            if active.stop.reason is None:
                await self._move(active, JobTransition.START)
        trials = tuple(trial for trial in active.spec.trials if trial.trial_id not in rows)
        if not trials or active.stop.reason is not None:
            return
        spec = dataclasses.replace(active.spec, trials=trials)
        runs = await self._execute_until_stopped(active, spec, directories)
        if active.stop.reason is None:
            # What ends because the job ends is no fault of a model.
            await self._quarantine.note_runs(runs)
        for run in runs:
            rows[run.trial.trial_id] = run

    async def _lay_out(self, active: ActiveJob, rows: dict[str, Run]) -> dict[str, Path]:
        """Lay out every artifact; a trial whose artifact cannot be laid out gets its row here."""
        digests = sorted({trial.artifact_digest for trial in active.spec.trials})
        active.pins = frozenset(await asyncio.to_thread(self._workspace.blobs_of, digests))
        directories: dict[str, Path] = {}
        for digest in digests:
            if active.stop.reason is not None:
                break
            try:
                directories[digest] = await asyncio.to_thread(
                    self._workspace.materialise, active.record.job_id, digest
                )
            except (EdgeloopError, OSError) as error:
                full = isinstance(error, BusyError | OSError) and not isinstance(error, CorruptDataError)
                kind = FailureKind.OUT_OF_DISK if full else FailureKind.CORRUPT_ARTIFACT
                for trial in (t for t in active.spec.trials if t.artifact_digest == digest):
                    rows[trial.trial_id] = run_without_measurement(
                        active.record, trial, Outcome.DEVICE_ERROR, kind, str(error)
                    )
        return directories

    async def _execute_until_stopped(
        self, active: ActiveJob, spec: JobSpec, directories: Mapping[str, Path]
    ) -> tuple[Run, ...]:
        """Run the benchmark; one that does not stop when asked is abandoned after a grace."""
        context = self._context(active, spec, directories)
        execution = asyncio.ensure_future(self._execute(context))
        grace = asyncio.create_task(self._grace(active))
        try:
            await asyncio.wait({execution, grace}, return_when=asyncio.FIRST_COMPLETED)
            if execution.done():
                return execution.result()
            _log.error("job %s did not stop when asked", active.record.job_id)
            return ()
        finally:
            grace.cancel()
            if not execution.done():
                execution.cancel()
                await asyncio.wait({execution}, timeout=_STOP_GRACE_S)

    async def _grace(self, active: ActiveJob) -> None:
        await active.stop.wait()
        await self._clock.sleep(_STOP_GRACE_S)

    def _context(self, active: ActiveJob, spec: JobSpec, directories: Mapping[str, Path]) -> ExecutionContext:
        record = active.record

        def keep(data: bytes) -> str:
            active.pins |= {hashlib.sha256(data).hexdigest()}
            return self._store.put(data)

        async def store_blob(data: bytes) -> str:
            return await asyncio.to_thread(keep, data)

        return ExecutionContext(
            board=self._board,
            spec=spec,
            job_id=record.job_id,
            device_id=record.device_id,
            device_name=record.device_name,
            boot_id=record.boot_id,
            agent_version=record.agent_version,
            directories=directories,
            store_blob=store_blob,
            report=active.report,
            stop=active.stop,
            wall_clock=self._clock,
            rest=active.rest,
            refusal=self._quarantine.refusal,
        )

    async def _finish(
        self, active: ActiveJob, rows: Mapping[str, Run], event: JobTransition, reason: str
    ) -> None:
        """Keep every run, then say that the job is over."""
        # From here on nobody cancels; whoever was about to, comes to an end first and is heard.
        active.finishing = True
        async with active.lock:
            if event is JobTransition.SUCCEED:
                event, reason = self._ending(active)
        complete = await asyncio.to_thread(self._complete, active, rows, event, reason)
        # Where the next number stands is noted first, so that a restart knows how many of the rows it finds.
        intent = dataclasses.replace(
            active.record,
            first_spool_sequence=self._spool.next_sequence,
            final_state=next_state(active.record.state, event),
            reason=reason,
        )
        try:
            await self._insist(functools.partial(self._journal.write, intent))
            for run in complete:
                await self._insist(functools.partial(self._spool.append, run))
            await self._close(active, intent)
        except OSError as error:
            _log.error("job %s is left for the next start: %s", active.record.job_id, error)
        finally:
            if self._active is active:
                self._active = None
            active.over.set()
            active.changed.set()

    async def _close(self, active: ActiveJob, intent: JobRecord) -> None:
        final = intent.final_state or JobState.FAILED
        closed = dataclasses.replace(intent, state=final, last_sequence=active.record.last_sequence + 1)
        await self._insist(functools.partial(self._journal.write, closed))
        active.record = dataclasses.replace(closed, last_sequence=active.record.last_sequence)
        try:
            await asyncio.to_thread(self._workspace.remove, closed.job_id)
        except OSError as error:
            # Swept at the next start; the results are safe.
            _log.warning("the directories of job %s stay: %s", closed.job_id, error)
        # Whoever hears of the end finds the device free.
        self._active = None
        active.report(Progress(phase="done", message=closed.reason or final.value))
        self._records[closed.job_id] = dataclasses.replace(active.record, spec=None)
        await asyncio.to_thread(self._prune)

    def _complete(
        self, active: ActiveJob, rows: Mapping[str, Run], event: JobTransition, reason: str
    ) -> list[Run]:
        outcome, kind = ROW_WITHOUT[event]
        text = f"{reason or 'the benchmark returned no row for this trial'}."
        return [
            deliverable(active.record, rows[trial.trial_id])
            if trial.trial_id in rows
            else run_without_measurement(active.record, trial, outcome, kind, text)
            for trial in active.spec.trials
        ]

    async def _insist(self, operation: Callable[[], object]) -> None:
        """Repeat a write until the disk takes it: a measurement is never dropped.

        Raises:
            OSError: the agent is stopping and the disk refuses.
        """
        while (error := await asyncio.to_thread(_refusal, operation)) is not None:
            _log.error("results wait for the disk: %s", error)
            if self._stopping:
                raise error
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._store.evict_for, _SPOOL_ROOM_BYTES)
            await self._clock.sleep(_RETRY_S)

    def _prune(self) -> None:
        ordered = sorted(self._records.values(), key=lambda record: record.order)
        for record in ordered[: max(0, len(ordered) - _KEPT_COUNT)]:
            self._journal.forget(record.job_id)
            del self._records[record.job_id]
