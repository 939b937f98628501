"""Threads that handle calls: the one that was busy last takes the next call.

The standard pool wakes the one that has rested longest. A thread has its own stacks and its own arena of the allocator,
and with dozens of them in turn every call finds these out of the processor's caches.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeAlias, TypeVar

__all__ = ["HandlerThreads"]

P = ParamSpec("P")
R = TypeVar("R")

Work: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"

_log = logging.getLogger(__name__)


class _Seat:
    """Where a thread waits for its next work; None ends it."""

    __slots__ = ("_filled", "_work")

    def __init__(self) -> None:
        self._work: Work | None = None
        self._filled = threading.Lock()
        self._filled.acquire()

    def fill(self, work: Work | None) -> None:
        """Wake the thread."""
        self._work = work
        self._filled.release()

    def take(self) -> Work | None:
        """Wait, and return the work, which is kept here no longer."""
        self._filled.acquire()
        work, self._work = self._work, None
        return work


class HandlerThreads(Executor):
    """An executor that starts threads as they are needed, and lets each do what is left once its call is answered.

    Args:
        count_max: most threads.
        afterwards: is called by a thread after each of its calls. A callback of the call would run on gRPC's one thread
            for events, and hold every other call up.
    """

    def __init__(self, count_max: int, afterwards: Callable[[], None]) -> None:
        self._count_max, self._afterwards = count_max, afterwards
        self._lock = threading.Lock()
        self._resting: list[_Seat] = []
        self._waiting: deque[Work] = deque()
        self._count, self._closed = 0, False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run a call: at once where a thread rests or may be started.

        Raises:
            RuntimeError: it was shut down.
        """
        future: Future[R] = Future()
        work = future, functools.partial(fn, *args, **kwargs)
        with self._lock:
            if self._closed:
                raise RuntimeError("no call is taken after shutdown")
            if self._resting:
                self._resting.pop().fill(work)
            elif self._count < self._count_max:
                self._count += 1
                seat = _Seat()
                seat.fill(work)
                threading.Thread(target=self._serve, args=(seat,), name="call", daemon=True).start()
            else:
                self._waiting.append(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that were taken are run, unless they wait and ``cancel_futures`` is set.

        Args:
            wait: has no meaning here: threads end by themselves, and hold no program up.
            cancel_futures: whether calls that wait for a thread are cancelled.
        """
        with self._lock:
            self._closed = True
            resting, self._resting = self._resting, []
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for seat in resting:
            seat.fill(None)
        for future, _ in dropped:
            future.cancel()

    def _serve(self, seat: _Seat) -> None:
        while (work := seat.take()) is not None:
            self._run(*work)
            # A request may be large, and the rest long.
            del work
            with self._lock:
                if self._waiting:
                    seat.fill(self._waiting.popleft())
                elif self._closed:
                    seat.fill(None)
                else:
                    self._resting.append(seat)

    def _run(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        try:
            self._afterwards()
        except Exception as error:
            # The thread is needed for other calls.
            _log.error("what follows a call failed", exc_info=error)
