"""Experiments that were handed in from afar: kept, begun in their turn, called off, and told about.

Each runs in a process of its own (``queue_worker``). What is written down goes before what is done: a daemon that was
killed finds its queue again, and begins anew what ran.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError, StateError

from edgeloop.domain.queue import ATTEMPTS_MAX, QueuedExperiment, QueueEvent, QueueState, Submission
from edgeloop.orchestrate.deploy import note_in_audit
from edgeloop.orchestrate.from_afar import KnownDevices
from edgeloop.orchestrate.queue_process import End, Happening, QueueProcess
from edgeloop.orchestrate.queue_worker import GRACE_S, Order, is_held
from edgeloop.store.uploads import UploadStore

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["News", "QueueDesk"]

_log = logging.getLogger(__name__)

_KEPT_LOGS = 50
_KEPT_HAPPENINGS = 1000
_LOOK_EVERY_S = 0.5
_SWEEP_EVERY_S = 3600.0
_OPEN = (QueueState.QUEUED, QueueState.RUNNING, QueueState.INTERRUPTED)


_ENDED = "the server ended while it ran."


def _called_off_by(who: str) -> str:
    return f"it was called off by {who}."


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """An experiment of the queue as it stands, and what happened after a certain moment."""

    entry: QueuedExperiment
    happenings: tuple[Happening, ...]
    #: Number of the latest happening; begins anew with each attempt and each daemon.
    sequence: int


@dataclass(slots=True)
class _Log:
    """What happened in the latest attempt."""

    process: QueueProcess | None = None
    #: Set when the queue ends it: who asked for that, or "" for the end of the daemon.
    called_off: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    kept: list[Happening] = field(default_factory=list)

    def tell(self) -> None:
        """Wake everybody who waits for news."""
        self.changed.set()
        self.changed = asyncio.Event()


class QueueDesk:
    """The queue of one daemon.

    Args:
        app: stores.
        known: the devices that may be named.
        at_once: how many experiments run beside each other.
    """

    def __init__(self, app: App, known: KnownDevices, *, at_once: int = 1) -> None:
        self._app, self._known, self._at_once = app, known, at_once
        self._store = app.records.queue()
        #: Files that were sent.
        self.uploads = UploadStore(app.state_directory)
        self._work = app.work_directory("queued")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        self._wake = asyncio.Event()
        self._stopping = False

    def all(self, *, limit: int = 200) -> tuple[QueuedExperiment, ...]:
        """Return what was handed in, the last first."""
        return self._store.all(limit=limit)

    def get(self, word: str) -> QueuedExperiment:
        """Return an experiment by its identifier in the queue or that of its latest attempt, or the beginning of it.

        Raises:
            NotFoundError: there is none, or several.
        """
        return self._store.get(word)

    def doing(self, queue_id: str) -> str:
        """Return the phase that an experiment is in; empty when it does not run here."""
        log = self._logs.get(queue_id)
        if log is None or log.process is None or queue_id not in self._tasks:
            return ""
        return log.process.phase

    async def submit(self, submission: Submission, by: str, queue_id: str = "") -> QueuedExperiment:
        """Take an experiment into the queue; the same one under the same identifier is taken once.

        Raises:
            InvalidInputError: something in it cannot be used.
            NotFoundError: a file was not sent.
            AlreadyExistsError: another experiment has the identifier.
        """
        if queue_id and not re.fullmatch(r"[0-9a-f]{32}", queue_id):
            raise InvalidInputError("an identifier in the queue is 32 hexadecimal digits in lower case.")
        entry = await asyncio.to_thread(self._take, submission, by, queue_id or uuid.uuid4().hex)
        self._wake.set()
        return entry

    def _take(self, submission: Submission, by: str, queue_id: str) -> QueuedExperiment:
        from edgeloop.select.expressions import parse_constraints, parse_preference

        parse_constraints(submission.request.require)
        parse_preference(submission.request.prefer)
        self._known.devices(submission.on)
        missing = set(self.uploads.missing(file.digest for file in submission.files))
        if missing:
            first = next(file.path for file in submission.files if file.digest in missing)
            raise NotFoundError(
                f"{len(missing)} of its files are not on the server, among them {first}.",
                next_step="Send them first: PUT /api/v1/uploads/DIGEST.",
            )
        entry = self._store.add(queue_id, submission, submitted_by=by, now_s=time.time())
        self._note("asked: experiment", entry, by)
        return entry

    def _note(self, action: str, entry: QueuedExperiment, by: str) -> None:
        details = {"by": by, "through": "edgeloop serve"}
        note_in_audit(self._app.state_directory, action, entry.queue_id, entry.state.value, details)

    async def cancel(self, word: str, by: str) -> QueuedExperiment:
        """Call an experiment off, whether it waits or runs; one that runs gives its devices back first.

        Raises:
            NotFoundError: there is no such experiment.
            StateError: it is over.
        """
        known = await asyncio.to_thread(self._store.get, word)
        task, log = self._tasks.get(known.queue_id), self._logs.get(known.queue_id)
        if task is not None and log is not None:
            log.called_off = by
            if log.process is not None:
                log.process.call_off()
            await asyncio.wait((task,), timeout=2 * GRACE_S)
            known = await asyncio.to_thread(self._store.get, known.queue_id)
            if known.state is not QueueState.CANCELLED:
                raise StateError(f"the experiment is {known.state.value}.")
        else:
            known = await asyncio.to_thread(
                self._store.move, known.queue_id, QueueEvent.CANCEL, _called_off_by(by), ended_s=time.time()
            )
        await asyncio.to_thread(self._note, "asked: experiment cancel", known, by)
        return known

    async def news(self, word: str, after: int, wait_s: float) -> News:
        """Return how an experiment stands and what happened after a number; wait for that if need be.

        Raises:
            NotFoundError: there is no such experiment.
        """
        ends_s = time.monotonic() + wait_s
        entry = await asyncio.to_thread(self._store.get, word)
        while True:
            log = _Log() if entry.over else None
            log = self._logs.get(entry.queue_id) or log or self._logs.setdefault(entry.queue_id, _Log())
            sequence = log.kept[-1].number if log.kept else 0
            left_s = ends_s - time.monotonic()
            if sequence != after or entry.over or left_s <= 0 or self._stopping:
                break
            changed = asyncio.create_task(log.changed.wait())
            await asyncio.wait((changed,), timeout=min(left_s, 5.0))
            changed.cancel()
            before, entry = entry, await asyncio.to_thread(self._store.get, entry.queue_id)
            if (before.state, before.attempt_count) != (entry.state, entry.attempt_count):
                break
        # A number that was never reached is of an earlier attempt.
        from_ = after if after <= sequence else 0
        kept = tuple(one for one in log.kept if one.number > from_)
        return News(entry=entry, happenings=kept, sequence=sequence)

    async def run(self) -> None:
        """Find what a daemon before this one left, then begin what waits, in its turn, until cancelled."""
        await asyncio.to_thread(self.uploads.sweep, self._wanted(), starting=True)
        await self._recover()
        swept_s = time.monotonic()
        while True:
            self._wake.clear()
            try:
                await self._begin_all()
                if time.monotonic() - swept_s > _SWEEP_EVERY_S:
                    swept_s = time.monotonic()
                    await asyncio.to_thread(self.uploads.sweep, self._wanted())
            except (EdgeloopError, OSError) as error:
                _log.warning("the queue of experiments cannot be read: %s", error)
                await asyncio.sleep(_LOOK_EVERY_S)
            await self._woken(_SWEEP_EVERY_S)

    async def _begin_all(self) -> None:
        """Begin whose turn it is, as many as may run at once."""
        while len(self._tasks) < self._at_once:
            entry = await asyncio.to_thread(self._store.first_queued)
            if entry is None or entry.queue_id in self._tasks:
                return
            self._begin(entry)
            # Written down as begun, or it would be the first again.
            await self._started(entry.queue_id)

    async def _started(self, queue_id: str) -> None:
        while queue_id in self._tasks:
            entry = await asyncio.to_thread(self._store.get, queue_id)
            if entry.state is not QueueState.QUEUED:
                return
            await asyncio.sleep(0.01)

    async def _woken(self, timeout_s: float) -> None:
        waiting = asyncio.create_task(self._wake.wait())
        await asyncio.wait((waiting,), timeout=timeout_s)
        waiting.cancel()

    def _wanted(self) -> set[str]:
        open_ = self._store.all(states=_OPEN, limit=100_000)
        return {file.digest for entry in open_ for file in entry.submission.files}

    def _begin(self, entry: QueuedExperiment) -> None:
        log = self._logs[entry.queue_id] = _Log(changed=self._changed(entry.queue_id))
        self._logs.move_to_end(entry.queue_id)
        for name in list(self._logs)[:-_KEPT_LOGS]:
            if name not in self._tasks:
                del self._logs[name]
        self._tasks[entry.queue_id] = asyncio.create_task(self._attempt(entry, log))

    def _changed(self, queue_id: str) -> asyncio.Event:
        """Return what those who wait for news of an experiment wait for already."""
        log = self._logs.get(queue_id)
        return log.changed if log is not None else asyncio.Event()

    async def _attempt(self, entry: QueuedExperiment, log: _Log) -> None:
        """Run one attempt and write down how it ended."""
        directory = self._work / uuid.uuid4().hex
        try:
            entry = await asyncio.to_thread(self._store.begin, entry.queue_id, directory.name, time.time())
        except EdgeloopError as error:
            # Called off a moment ago, or the disk is full: it is looked at again.
            _log.warning("experiment %s of the queue does not begin: %s", entry.queue_id, error)
            await asyncio.sleep(_LOOK_EVERY_S)
            self._tasks.pop(entry.queue_id, None)
            self._wake.set()
            return
        end = End(done=False)
        try:
            order = await asyncio.to_thread(self._order, entry, directory)
            if log.called_off is None:
                end = await self._worked(order, log)
        except EdgeloopError as error:
            end = End(done=False, reason=str(error), error_kind=type(error).__name__)
        except Exception as error:
            _log.exception("experiment %s of the queue failed", entry.queue_id)
            text = f"{type(error).__name__}: {error}"
            end = End(done=False, reason=text, error_kind="InternalError")
        finally:
            await asyncio.to_thread(self._close, entry, end, log.called_off, directory)
            self._tasks.pop(entry.queue_id, None)
            log.tell()
            self._wake.set()

    def _order(self, entry: QueuedExperiment, directory: Path) -> Order:
        submission = entry.submission
        directory.mkdir(mode=0o700, parents=True)
        files = directory / "files"
        self.uploads.lay_out(submission.files, files)
        request = submission.request
        return Order(
            home=str(self._app.state_directory),
            directory=str(directory),
            experiment_id=entry.experiment_id,
            request=replace(
                request,
                model=str(files / request.model),
                data=str(files / request.data) if request.data else "",
                devices=self._known.devices(submission.on),
            ),
            priority=submission.priority,
            wait_s=submission.wait_s,
        )

    async def _worked(self, order: Order, log: _Log) -> End:
        def heard(happening: Happening) -> None:
            log.kept.append(happening)
            # Who comes late is told the newest of it.
            del log.kept[:-_KEPT_HAPPENINGS]
            log.tell()

        log.process = await QueueProcess.start(order, heard)
        if log.called_off is not None:
            log.process.call_off()
        return await log.process.ended()

    def _close(self, entry: QueuedExperiment, end: End, called_off: str | None, directory: Path) -> None:
        """Write down how an attempt ended; what was recorded to its end is done, whatever came then."""
        event, reason, kind = QueueEvent.FAIL, end.reason, end.error_kind
        if end.done or self._app.records.is_finished(directory.name):
            event, reason, kind = QueueEvent.FINISH, "", ""
        elif called_off is not None:
            event = QueueEvent.CANCEL if called_off else QueueEvent.INTERRUPT
            reason, kind = (_called_off_by(called_off) if called_off else _ENDED), ""
        ended_s = None if event is QueueEvent.INTERRUPT else time.time()
        try:
            self._store.move(entry.queue_id, event, reason, ended_s=ended_s, error_kind=kind)
        except EdgeloopError:
            _log.exception("how experiment %s of the queue ended cannot be written down", entry.queue_id)
        shutil.rmtree(directory, ignore_errors=True)

    async def _recover(self) -> None:
        """Queue again what ran when a daemon ended, once the process that worked on it is gone."""
        for path in self._work.iterdir():
            for _ in range(int((GRACE_S + 10.0) / _LOOK_EVERY_S)):
                if not is_held(path):
                    break
                await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        left = (QueueState.RUNNING, QueueState.INTERRUPTED)
        for entry in await asyncio.to_thread(self._store.all, states=left, limit=100_000):
            await asyncio.to_thread(self._recovered, entry)

    def _recovered(self, entry: QueuedExperiment) -> None:
        move, name = self._store.move, entry.queue_id
        if entry.state is QueueState.RUNNING:
            move(name, QueueEvent.INTERRUPT, _ENDED)
        if self._app.records.is_finished(entry.experiment_id):
            move(name, QueueEvent.FINISH, ended_s=time.time())
        elif entry.attempt_count >= ATTEMPTS_MAX:
            reason = (
                f"the server ended {entry.attempt_count} times while it ran; it is not begun again by itself."
            )
            move(name, QueueEvent.FAIL, reason, ended_s=time.time(), error_kind="UnavailableError")
        else:
            move(name, QueueEvent.QUEUE_AGAIN, "the server ended while it ran; it begins anew.")

    async def stop(self) -> None:
        """Interrupt what runs; it begins anew with the next daemon."""
        self._stopping = True
        for log in self._logs.values():
            if log.called_off is None:
                log.called_off = ""
            if log.process is not None:
                log.process.call_off()
            log.tell()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=GRACE_S + 10.0)
