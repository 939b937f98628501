"""The line: who shares a run, who is refused, and that one bad request fails alone."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtimes.base import Arrays, Execute, LoadedModel
from edgeloop_agent.serving.batcher import Batcher, RunReport
from edgeloop_agent.serving.model import LoadedSlot, ServedModel, load_slot
from edgeloop_agent.serving.tensors import Array
from edgeloop_foundation.errors import BusyError, InternalError, UnavailableError
from edgeloop_protocol.types.run import FailureKind, Outcome, Placement

from scripts.bench.serving_slots import SlotBoard, linear


class GatedModel(LoadedModel):
    """A runtime whose every run waits for the test; doubles its input and fails on numbers below zero."""

    output_names = ("y",)
    providers = ("gate",)

    def __init__(self) -> None:
        self.begun, self.gate = threading.Semaphore(0), threading.Semaphore(0)

    def executor(self) -> Execute:
        def execute(feeds: Arrays) -> Sequence[Array]:
            self.begun.release()
            self.gate.acquire()
            if (feeds["x"] < 0).any():
                raise ValueError("below zero")
            return [2 * feeds["x"]]

        return execute

    def explain(self, error: Exception) -> RunnerFailure:
        return RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.INFERENCE_FAILED, str(error))

    def placement(self, first_run: int) -> Placement:
        raise NotImplementedError


@pytest.fixture
def version(board: SlotBoard) -> LoadedSlot:
    return load_slot(board.slots, "demo", board.install("demo", 1, linear()), 1)


def gated(version: LoadedSlot, limit: int) -> tuple[ServedModel, GatedModel]:
    loaded = GatedModel()
    return ServedModel(dataclasses.replace(version, loaded=loaded), limit, ""), loaded


class Line:
    """Requests on threads of their own, each known to be in line before the next comes."""

    def __init__(self, pool: ThreadPoolExecutor, batcher: Batcher) -> None:
        self._pool, self._batcher = pool, batcher

    def send(
        self, model: ServedModel, *values: float, waits_for: int | None = None, alive: bool = True
    ) -> Future[Sequence[Array]]:
        x = np.array([[value] * 4 for value in values], np.float32)
        sent = self._pool.submit(lambda: self._batcher.submit(model, {"x": x}, lambda: alive)[0])
        if waits_for is not None:
            done = threading.Event()
            while self._batcher.waiting < waits_for and not sent.done():
                done.wait(0.002)
        return sent


@contextmanager
def line(queue_max: int = 8, delay_s: float = 0.0) -> Iterator[tuple[Line, Batcher, list[RunReport]]]:
    reports: list[RunReport] = []
    batcher = Batcher(queue_max, delay_s, reports.append)
    with ThreadPoolExecutor(16) as pool:
        yield Line(pool, batcher), batcher, reports


def firsts(sent: Future[Sequence[Array]]) -> list[float]:
    """Return the first number of every row of the answer."""
    return [float(row[0]) for row in sent.result(30)[0]]


def test_who_waits_shares_a_run_and_gets_its_own_rows(version: LoadedSlot) -> None:
    model, loaded = gated(version, 4)
    with line() as (requests, _, reports):
        first = requests.send(model, 1.0)
        loaded.begun.acquire()
        others = [
            requests.send(model, *values, waits_for=at) for at, values in enumerate([(2, 3), (4,), (5, 6)], 1)
        ]
        loaded.gate.release(10)
        assert [firsts(one) for one in (first, *others)] == [[2], [4, 6], [8], [10, 12]]
    # Two and one row fit together, two more would be five.
    # Each is told of by one of its own requests: in no order.
    assert sorted((report.row_count, len(report.waits_s)) for report in reports) == [(1, 1), (2, 1), (3, 2)]


def test_a_full_line_refuses_at_once(version: LoadedSlot) -> None:
    model, loaded = gated(version, 4)
    with line(queue_max=2) as (requests, _, _):
        sent = [requests.send(model, 1.0)]
        loaded.begun.acquire()
        sent += [requests.send(model, float(at), waits_for=at) for at in (1, 2)]
        with pytest.raises(BusyError, match="2 requests wait already"):
            requests.send(model, 3.0).result(30)
        loaded.gate.release(10)
        assert [firsts(one) for one in sent] == [[2], [2], [4]]


def test_a_bad_request_fails_alone(version: LoadedSlot) -> None:
    model, loaded = gated(version, 8)
    with line() as (requests, _, _):
        first = requests.send(model, 1.0)
        loaded.begun.acquire()
        others = [requests.send(model, value, waits_for=at) for at, value in enumerate((2.0, -1.0, 3.0), 1)]
        loaded.gate.release(10)
        assert firsts(first) == [2]
        assert (firsts(others[0]), firsts(others[2])) == ([4], [6])
        with pytest.raises(InternalError, match="below zero"):
            others[1].result(30)


def test_versions_and_shapes_do_not_share_a_run(version: LoadedSlot) -> None:
    (old, loaded), (new, also) = gated(version, 8), gated(version, 8)
    with line() as (requests, _, reports):
        sent = [requests.send(old, 1.0)]
        loaded.begun.acquire()
        sent += [requests.send(model, 2.0, waits_for=at) for at, model in enumerate((old, new, new, old), 1)]
        loaded.gate.release(10)
        also.gate.release(10)
        assert [firsts(one) for one in sent] == [[2], [4], [4], [4], [4]]
    assert sorted(report.row_count for report in reports) == [1, 1, 1, 2]


def test_a_caller_that_is_gone_takes_no_rows(version: LoadedSlot) -> None:
    model, loaded = gated(version, 8)
    with line() as (requests, _, reports):
        first = requests.send(model, 1.0)
        loaded.begun.acquire()
        kept = requests.send(model, 2.0, waits_for=1)
        gone = requests.send(model, 3.0, waits_for=2, alive=False)
        loaded.gate.release(10)
        assert (firsts(first), firsts(kept)) == ([2], [4])
        with pytest.raises(UnavailableError, match="caller is gone"):
            gone.result(30)
    assert [report.row_count for report in reports] == [1, 1]


def test_a_delay_fills_the_batch_and_ends_when_it_is_full(version: LoadedSlot) -> None:
    model, loaded = gated(version, 2)
    loaded.gate.release(10)
    # Longer than any test runs: only a full batch ends it.
    with line(delay_s=60.0) as (requests, _, reports):
        first = requests.send(model, 1.0, waits_for=1)
        second = requests.send(model, 2.0)
        assert (firsts(first), firsts(second)) == ([2], [4])
    assert [report.row_count for report in reports] == [2]


def test_one_thread_runs_for_all_who_wait(version: LoadedSlot) -> None:
    model, loaded = gated(version, 2)
    runs: list[tuple[int, str]] = []
    with line() as (requests, _, _):
        sent = [requests.send(model, 1.0)]
        loaded.begun.acquire()
        sent += [requests.send(model, float(at), waits_for=at) for at in range(1, 5)]

        def execute(feeds: Arrays) -> Sequence[Array]:
            runs.append((len(feeds["x"]), threading.current_thread().name))
            return execute_gated(feeds)

        execute_gated, model._execute = model._execute, execute
        loaded.gate.release()
        for _ in range(2):
            loaded.begun.acquire()
            loaded.gate.release()
        assert [firsts(one) for one in sent] == [[2], [2], [4], [6], [8]]
    # One thread runs for all who wait, batch after batch: nobody who is answered has to wake before the next run.
    assert runs == [(2, "batches"), (2, "batches")]


@pytest.mark.parametrize("delay_s", [0.0, 60.0])
def test_answers_wait_neither_for_the_next_run_nor_for_others_to_join_it(
    version: LoadedSlot, delay_s: float
) -> None:
    model, loaded = gated(version, 2)
    with line(delay_s=delay_s) as (requests, batcher, _):
        sent = [requests.send(model, 1.0, 2.0)]
        loaded.begun.acquire()
        sent += [requests.send(model, float(at), waits_for=at - 2) for at in range(3, 6)]
        # The first two runs end; the third one hangs, or waits for a second row that never comes.
        loaded.gate.release(2)
        assert [firsts(one) for one in sent[:3]] == [[2, 4], [6], [8]]
        assert not sent[3].done()
        loaded.gate.release()
        batcher.close(0.0)
        assert firsts(sent[3]) == [10]


def test_who_finds_nobody_running_runs_on_its_own_thread(version: LoadedSlot) -> None:
    model, loaded = gated(version, 2)
    loaded.gate.release(10)
    names: list[str] = []
    execute = model._execute

    def named(feeds: Arrays) -> Sequence[Array]:
        names.append(threading.current_thread().name)
        return execute(feeds)

    model._execute = named
    batcher = Batcher(8, 0.0, lambda report: None)
    for _ in range(2):
        batcher.submit(model, {"x": np.ones((1, 4), np.float32)}, lambda: True)
    assert names == [threading.current_thread().name] * 2
    assert batcher.close(30.0) is True


def test_a_batch_that_breaks_off_leaves_the_line_alive(version: LoadedSlot) -> None:
    """Rows that cannot be joined fail their own requests, and who comes after them is answered."""
    model, loaded = gated(version, 8)
    with line() as (requests, batcher, _):
        sent = [requests.send(model, 1.0)]
        loaded.begun.acquire()
        sent += [requests.send(model, 2.0, waits_for=1), requests.send(model, 3.0, waits_for=2)]
        for one in batcher._line:
            one.feeds = {**one.feeds, "x": np.array(0.0, np.float32)}
        loaded.gate.release(10)
        assert firsts(sent[0]) == [2]
        for one in sent[1:]:
            with pytest.raises(InternalError, match="broke off"):
                one.result(30)
        assert firsts(requests.send(model, 4.0)) == [8]


def test_a_closed_line_answers_who_waits_and_takes_nobody(version: LoadedSlot) -> None:
    model, loaded = gated(version, 8)
    with line() as (requests, batcher, _):
        first = requests.send(model, 1.0)
        loaded.begun.acquire()
        second = requests.send(model, 2.0, waits_for=1)
        assert batcher.close(0.0) is False
        with pytest.raises(UnavailableError, match="server ends"):
            requests.send(model, 3.0).result(30)
        loaded.gate.release(10)
        assert (firsts(first), firsts(second)) == ([2], [4])
        assert batcher.close(30.0) is True
