"""Requests to batches: who finds nobody running runs itself, at once; a thread of the line's own runs for who waits.

An idle server adds no change of thread. Whoever comes meanwhile waits, as everybody does where requests are delayed so
that others join. The line's thread then runs batch after batch until nobody waits. It has the next one gathered before
it wakes those of the last one: sixteen threads that write their answers would otherwise stand between the runtime and
its next run. A request waits at most for the run under way and those ahead of it in a queue of bounded length, and
``delay_s_max`` for others to join.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from edgeloop_foundation.errors import BusyError, EdgeloopError, InternalError, UnavailableError

from edgeloop_agent.serving.model import Feeds, ServedModel
from edgeloop_agent.serving.tensors import Array

__all__ = ["Batcher", "Ride", "RunReport"]

_log = logging.getLogger(__name__)


class RunReport(NamedTuple):
    """One run as it went."""

    #: Version that ran.
    version: str
    #: Rows in it; 1 for a model without a batch axis.
    row_count: int
    #: How long it took.
    run_s: float
    #: How long each of its requests had waited.
    waits_s: tuple[float, ...]


class Ride(NamedTuple):
    """How one request came to its answer."""

    #: How long it waited for its run.
    wait_s: float
    #: Rows of the run.
    row_count: int


class _Pending:
    """One request in line."""

    __slots__ = (
        "_shapes",
        "alive",
        "came_s",
        "error",
        "feeds",
        "model",
        "outputs",
        "report",
        "ride",
        "row_count",
        "turn",
    )

    def __init__(self, model: ServedModel, feeds: Feeds, alive: Callable[[], bool]) -> None:
        self.model, self.feeds, self.alive = model, feeds, alive
        self.came_s = time.perf_counter()
        #: Locked until it is answered.
        self.turn = threading.Lock()
        self.turn.acquire()
        self.outputs: Sequence[Array] | None = None
        self.ride: Ride | None = None
        self.error: EdgeloopError | None = None
        #: Of the run that it was the first of.
        self.report: RunReport | None = None
        self.row_count = _row_count(model, feeds)
        self._shapes: tuple[tuple[str, tuple[int, ...]], ...] | None = None

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Shapes of its rows by input."""
        if self._shapes is None:
            self._shapes = tuple(sorted((name, array.shape[1:]) for name, array in self.feeds.items()))
        return self._shapes

    def joins(self, other: _Pending) -> bool:
        """Return whether both can be rows of one run."""
        return self.model is other.model and self.shapes == other.shapes


class Batcher:
    """The line of one deployment; its thread ends with ``close``.

    Args:
        queue_max: most requests that wait.
        delay_s_max: longest wait for others to join.
        report: is told of every run.
    """

    def __init__(self, queue_max: int, delay_s_max: float, report: Callable[[RunReport], None]) -> None:
        self._queue_max, self._delay_s_max, self._report = queue_max, delay_s_max, report
        self._line: deque[_Pending] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._led = self._closed = False
        self._inside = 0
        # True hands the lead over, False ends the thread.
        self._baton: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._drive, name="batches", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many requests wait for a run."""
        return len(self._line)

    def submit(
        self,
        model: ServedModel,
        feeds: Feeds,
        alive: Callable[[], bool],
    ) -> tuple[Sequence[Array], Ride]:
        """Run a request, alone or among others, and return its own outputs and how it came to them.

        Args:
            model: the version that it was checked against and that answers it, whatever is switched meanwhile.
            feeds: every input; with a batch axis, of the same number of rows.
            alive: whether somebody still waits for the answer.

        Raises:
            BusyError: too many wait.
            UnavailableError: the server ends.
            InternalError: the runtime failed.
        """
        mine: _Pending | None = None
        with self._lock:
            if self._closed:
                raise UnavailableError("the server ends.", next_step="Try again in a moment.")
            if self._led or self._delay_s_max:
                mine = self._line_up(_Pending(model, feeds, alive))
            self._led = True
            self._inside += 1
        if mine is None:
            return self._alone(model, feeds)
        mine.turn.acquire()
        with self._lock:
            self._leave()
        if mine.report is not None:
            self._report(mine.report)
        if mine.error is not None:
            raise mine.error
        if mine.outputs is None or mine.ride is None:
            raise InternalError("a request left the line without an answer.")
        return mine.outputs, mine.ride

    def _line_up(self, mine: _Pending) -> _Pending:
        """Take a place in line, and hand the lead to the line's thread if nobody has it."""
        if self._led:
            # What runs has left the line.
            if len(self._line) >= self._queue_max:
                raise BusyError(
                    f"{self._queue_max} requests wait already.", next_step="Try again in a moment."
                )
        else:
            self._baton.put(True)
        self._line.append(mine)
        if self._delay_s_max:
            self._changed.notify_all()
        return mine

    def _alone(self, model: ServedModel, feeds: Feeds) -> tuple[Sequence[Array], Ride]:
        """Run one request in its own thread, and hand the lead on."""
        started_s = time.perf_counter()
        try:
            outputs = model.run(feeds)
        finally:
            ended_s = time.perf_counter()
            with self._lock:
                self._led = bool(self._line)
                if self._led:
                    self._baton.put(True)
                self._leave()
        rows = _row_count(model, feeds)
        self._report(RunReport(model.version, rows, ended_s - started_s, (0.0,)))
        return outputs, Ride(0.0, rows)

    def _leave(self) -> None:
        self._inside -= 1
        if self._closed:
            self._changed.notify_all()

    def _drive(self) -> None:
        """Run for who waits whenever the lead is handed over."""
        while self._baton.get():
            ran: list[_Pending] = []
            while batch := self._next(ran):
                ran = batch

    def _next(self, ran: list[_Pending]) -> list[_Pending]:
        """Run the next batch, and hand out the answers of the last one as soon as it is gathered.

        Returns:
            The requests that ran and have yet to be woken; empty when nobody waits, and the lead is free.
        """
        if self._delay_s_max:
            _hand_out(ran)
            ran = []
        batch = self._take()
        try:
            live = [one for one in batch if one.error is None]
            feeds = _gathered(live) if live else {}
            _hand_out(ran)
            ran = []
            if live:
                self._run(live, feeds)
        except Exception as error:
            # Who waits in line needs this thread.
            _log.error("a batch broke off", exc_info=error)
        finally:
            _hand_out(ran)
        return batch

    def _take(self) -> list[_Pending]:
        """Take the next batch out of the line; nobody in it frees the lead."""
        with self._lock:
            if not self._line:
                self._led = False
                return []
            first = self._line[0]
            if self._delay_s_max:
                until_s = first.came_s + self._delay_s_max
                while self._rows(first) < first.model.batch_limit and not self._closed:
                    left_s = until_s - time.perf_counter()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        break
            batch = [self._line.popleft()]
            rows = first.row_count
            while self._line and self._line[0].joins(first):
                if rows + self._line[0].row_count > first.model.batch_limit:
                    break
                rows += self._line[0].row_count
                batch.append(self._line.popleft())
        for one in batch:
            if not one.alive():
                one.error = UnavailableError("its caller is gone.")
        return batch

    def _rows(self, first: _Pending) -> int:
        return sum(one.row_count for one in self._line if one.joins(first))

    def _run(self, batch: list[_Pending], feeds: Feeds) -> None:
        model, started_s = batch[0].model, time.perf_counter()
        try:
            _answer(model, batch, feeds)
        except EdgeloopError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            # One request's rows must not fail the others': each alone, so that the culprit fails alone.
            for one in batch:
                self._run([one], one.feeds)
            return
        ended_s, rows = time.perf_counter(), sum(one.row_count for one in batch)
        waits_s = tuple(started_s - one.came_s for one in batch)
        for one, wait_s in zip(batch, waits_s, strict=True):
            one.ride = Ride(wait_s=wait_s, row_count=rows)
        batch[0].report = RunReport(
            version=model.version, row_count=rows, run_s=ended_s - started_s, waits_s=waits_s
        )

    def close(self, grace_s: float) -> bool:
        """Take no more; return whether everything in line was answered within ``grace_s``."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            empty = self._changed.wait_for(lambda: self._inside == 0, grace_s)
        if empty:
            self._baton.put(False)
        return empty


def _row_count(model: ServedModel, feeds: Feeds) -> int:
    return int(next(iter(feeds.values())).shape[0]) if model.batch_limit > 1 else 1


def _gathered(batch: list[_Pending]) -> Feeds:
    """Return the inputs of all requests, one after the other."""
    if len(batch) == 1:
        return batch[0].feeds
    return {name: np.concatenate([one.feeds[name] for one in batch]) for name in batch[0].feeds}


def _hand_out(batch: list[_Pending]) -> None:
    """Wake who waits for these answers."""
    for one in batch:
        if one.outputs is None and one.error is None:
            one.error = InternalError("the batch of this request broke off.")
        one.turn.release()


def _answer(model: ServedModel, batch: list[_Pending], feeds: Feeds) -> None:
    """Run a batch and give each request its rows.

    Raises:
        InternalError: the runtime failed, or returned another number of rows than it was given.
    """
    outputs = model.run(feeds)
    if len(batch) == 1:
        batch[0].outputs = outputs
        return
    rows = sum(one.row_count for one in batch)
    if any(output.shape[:1] != (rows,) for output in outputs):
        raise InternalError(f"the model returned another number of rows than the {rows} that it was given.")
    end = 0
    for one in batch:
        begin, end = end, end + one.row_count
        one.outputs = [output[begin:end] for output in outputs]
