"""Requests to batches: the first thread in line runs for all who wait behind it, then hands the lead on.

No thread of its own: a request that finds nobody running runs itself, at once, so that an idle server adds no change
of thread. Whoever comes meanwhile waits, and goes in one batch when the lead is free. A request waits at most for the
batch that runs and those ahead of it in a queue of bounded length, and ``delay_s_max`` for others to join.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from edgeloop_foundation.errors import BusyError, EdgeloopError, InternalError, UnavailableError

from edgeloop_agent.serving.model import Feeds, ServedModel
from edgeloop_agent.serving.tensors import Array

__all__ = ["Batcher", "Ride", "RunReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run as it went."""

    #: Version that ran.
    version: str
    #: Rows in it; 1 for a model without a batch axis.
    row_count: int
    #: How long it took.
    run_s: float
    #: How long each of its requests had waited.
    waits_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ride:
    """How one request came to its answer."""

    #: How long it waited for its run.
    wait_s: float
    #: Rows of the run.
    row_count: int


class _Pending:
    """One request in line."""

    __slots__ = (
        "alive",
        "came_s",
        "error",
        "feeds",
        "model",
        "outputs",
        "ride",
        "row_count",
        "shapes",
        "turn",
    )

    def __init__(self, model: ServedModel, feeds: Feeds, alive: Callable[[], bool]) -> None:
        self.model, self.feeds, self.alive = model, feeds, alive
        self.came_s = time.perf_counter()
        self.turn = threading.Event()
        self.outputs: Sequence[Array] | None = None
        self.ride: Ride | None = None
        self.error: EdgeloopError | None = None
        batched = model.batch_limit > 1
        self.row_count = next(iter(feeds.values())).shape[0] if batched else 1
        self.shapes = tuple(sorted((name, array.shape[1:]) for name, array in feeds.items()))

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None

    def joins(self, other: _Pending) -> bool:
        """Return whether both can be rows of one run."""
        return self.model is other.model and self.shapes == other.shapes


class Batcher:
    """The line of one deployment.

    Args:
        queue_max: most requests that wait.
        delay_s_max: longest wait for others to join.
        report: is told of every run.
    """

    def __init__(self, queue_max: int, delay_s_max: float, report: Callable[[RunReport], None]) -> None:
        self._queue_max, self._delay_s_max, self._report = queue_max, delay_s_max, report
        self._line: deque[_Pending] = deque()
        self._changed = threading.Condition()
        self._led = self._closed = False
        self._inside = 0

    @property
    def waiting(self) -> int:
        """How many requests wait for a run."""
        return len(self._line)

    def submit(
        self,
        model: ServedModel,
        feeds: Feeds,
        alive: Callable[[], bool],
        note: Callable[[Ride], None] | None = None,
    ) -> Sequence[Array]:
        """Run a request, alone or among others, and return its own outputs.

        Args:
            model: the version that it was checked against and that answers it, whatever is switched meanwhile.
            feeds: every input; with a batch axis, of the same number of rows.
            alive: whether somebody still waits for the answer.
            note: is told how the request came to its answer.

        Raises:
            BusyError: too many wait.
            UnavailableError: the server ends.
            InternalError: the runtime failed.
        """
        mine = _Pending(model, feeds, alive)
        with self._changed:
            leads = self._enter(mine)
        try:
            if not leads:
                mine.turn.wait()
            if not mine.done:
                self._lead()
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()
        if mine.error is not None:
            raise mine.error
        if mine.outputs is None:
            raise InternalError("a request left the line without an answer.")
        if note is not None and mine.ride is not None:
            note(mine.ride)
        return mine.outputs

    def _enter(self, mine: _Pending) -> bool:
        """Take a place in line; return whether it leads."""
        if self._closed:
            raise UnavailableError("the server ends.", next_step="Try again in a moment.")
        # Who leads has left the line, or leaves it next.
        if self._led and len(self._line) >= self._queue_max:
            raise BusyError(f"{self._queue_max} requests wait already.", next_step="Try again in a moment.")
        self._inside += 1
        self._line.append(mine)
        leads, self._led = not self._led, True
        self._changed.notify_all()
        return leads

    def _lead(self) -> None:
        """Run the batch at the head of the line, which holds the leader's request, and hand the lead on."""
        batch = self._take()
        reports: list[RunReport] = []
        try:
            self._run([one for one in batch if one.error is None], reports)
        finally:
            # The lead first: the runtime is the narrow place, and who has an answer only writes it.
            with self._changed:
                if self._line:
                    self._line[0].turn.set()
                else:
                    self._led = False
            for one in batch:
                if not one.done:
                    one.error = InternalError("the batch of this request broke off.")
                one.turn.set()
        for report in reports:
            self._report(report)

    def _take(self) -> list[_Pending]:
        with self._changed:
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
        for one in batch[1:]:
            if not one.alive():
                one.error = UnavailableError("its caller is gone.")
        return batch

    def _rows(self, first: _Pending) -> int:
        return sum(one.row_count for one in self._line if one.joins(first))

    def _run(self, batch: list[_Pending], reports: list[RunReport]) -> None:
        model, started_s = batch[0].model, time.perf_counter()
        try:
            _answer(model, batch)
        except EdgeloopError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            # One request's rows must not fail the others': each alone, so that the culprit fails alone.
            for one in batch:
                self._run([one], reports)
            return
        rows = sum(one.row_count for one in batch)
        for one in batch:
            one.ride = Ride(wait_s=started_s - one.came_s, row_count=rows)
        reports.append(
            RunReport(
                version=model.version,
                row_count=rows,
                run_s=time.perf_counter() - started_s,
                waits_s=tuple(started_s - one.came_s for one in batch),
            )
        )

    def close(self, grace_s: float) -> bool:
        """Take no more; return whether everything in line was answered within ``grace_s``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._inside == 0, grace_s)


def _answer(model: ServedModel, batch: list[_Pending]) -> None:
    """Run a batch and give each request its rows.

    Raises:
        InternalError: the runtime failed, or returned another number of rows than it was given.
    """
    if len(batch) == 1:
        batch[0].outputs = model.run(batch[0].feeds)
        return
    outputs = model.run({name: np.concatenate([one.feeds[name] for one in batch]) for name in batch[0].feeds})
    ends = np.cumsum([one.row_count for one in batch])
    if any(output.shape[:1] != (ends[-1],) for output in outputs):
        raise InternalError(
            f"the model returned another number of rows than the {ends[-1]} that it was given."
        )
    for one, end in zip(batch, ends, strict=True):
        one.outputs = [output[end - one.row_count : end] for output in outputs]
