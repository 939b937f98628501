"""Threads of calls: who takes the next one, how many there are, and what they leave behind."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future

import pytest
from edgeloop_agent.serving.handler_threads import HandlerThreads


def nothing() -> None:
    pass


def held(threads: HandlerThreads, gate: threading.Event) -> Future[int]:
    """Begin a call that waits for a gate, and return once a thread has it."""
    begun = threading.Event()

    def call() -> int:
        begun.set()
        assert gate.wait(30)
        return threading.get_ident()

    future = threads.submit(call)
    assert begun.wait(30)
    return future


def rested(threads: HandlerThreads, count: int) -> None:
    """Wait until so many threads rest."""
    tick = threading.Event()
    for _ in range(3000):
        if len(threads._resting) == count:
            return
        tick.wait(0.01)
    raise AssertionError(f"{len(threads._resting)} of {count} rest")


def test_the_thread_that_was_busy_last_takes_the_next_call() -> None:
    threads = HandlerThreads(8, nothing)
    gates = [threading.Event() for _ in range(4)]
    calls = [held(threads, gate) for gate in gates]
    for number, gate in enumerate(gates):
        gate.set()
        last = calls[number].result(30)
        rested(threads, number + 1)
    assert len({call.result() for call in calls}) == 4
    for _ in range(5):
        assert threads.submit(threading.get_ident).result(30) == last
        rested(threads, 4)


def test_no_more_threads_than_allowed_and_who_waits_is_served_in_order() -> None:
    threads, gate, order = HandlerThreads(2, nothing), threading.Event(), list[int]()
    busy = [held(threads, gate), held(threads, gate)]
    waiting = [threads.submit(order.append, number) for number in range(5)]
    assert not any(call.done() for call in waiting)
    gate.set()
    for call in (*busy, *waiting):
        call.result(30)
    assert sorted(order) == list(range(5))
    assert threads._count == 2


def test_what_is_left_comes_after_the_answer_and_its_failure_ends_no_thread() -> None:
    answered: list[bool] = []

    def afterwards() -> None:
        answered.append(call.done())
        raise ValueError("on purpose")

    threads = HandlerThreads(1, afterwards)
    gate = threading.Event()
    call: Future[int] = held(threads, gate)
    gate.set()
    ident = call.result(30)
    rested(threads, 1)
    assert answered == [True]
    assert threads.submit(threading.get_ident).result(30) == ident


def test_a_failed_call_tells_its_error_and_its_thread_goes_on() -> None:
    threads = HandlerThreads(1, nothing)
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(30)
    assert threads.submit(lambda: 7).result(30) == 7


def test_a_resting_thread_holds_nothing_of_its_calls() -> None:
    class Request:
        pass

    threads, request = HandlerThreads(1, nothing), Request()
    gone = weakref.ref(request)
    for _ in range(2):
        threads.submit(id, request).result(30)
        rested(threads, 1)
    del request
    gc.collect()
    assert gone() is None


def test_after_shutdown_nothing_is_taken_and_every_thread_ends() -> None:
    before, gate = threading.active_count(), threading.Event()
    threads = HandlerThreads(2, nothing)
    busy = [held(threads, gate), held(threads, gate)]
    kept = threads.submit(lambda: 7)
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        threads.submit(nothing)
    gate.set()
    assert kept.result(30) == 7
    assert len({call.result(30) for call in busy}) == 2
    tick = threading.Event()
    for _ in range(3000):
        if threading.active_count() == before:
            return
        tick.wait(0.01)
    raise AssertionError(f"{threading.active_count() - before} threads are left")


def test_calls_that_wait_can_be_cancelled_at_shutdown() -> None:
    threads, gate = HandlerThreads(1, nothing), threading.Event()
    busy = held(threads, gate)
    dropped = threads.submit(lambda: 7)
    threads.shutdown(cancel_futures=True)
    gate.set()
    busy.result(30)
    with pytest.raises(CancelledError):
        dropped.result(30)
