"""Runs coroutines beside the tests: connections and leases outlive a single call, tests stay synchronous."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYetError
from contextlib import nullcontext
from typing import Any, TypeVar

import pytest

__all__ = ["BackgroundLoop", "LogListener"]

T = TypeVar("T")

_LOOK_S = 0.1
_CLEAN_UP_S = 20.0
"""A cancelled job gives its lease back within that time; after it, the lease runs out by itself."""

_PERIOD_S = 10.0
"""A log of a CI job gets a line of progress at most this often for each piece of work."""


class LogListener:
    """A ``Listener`` whose lines are written by the thread of the tests, past pytest's capture."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._said_s: dict[str, float] = {}

    def phase(self, name: str) -> None:
        """Say nothing: tests come one by one, and what they wait for is said by ``progress``."""

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Say how far a piece of work is, once in a while."""
        now_s = time.monotonic()
        if now_s - self._said_s.setdefault(what, now_s) >= _PERIOD_S:
            self._said_s[what] = now_s
            of_total = f" of {total}" if total else ""
            self._lines.put(f"{what}: {done}{of_total} {unit}".rstrip())

    def note(self, text: str) -> None:
        """Say something a person should read."""
        self._lines.put(text)

    def write(self) -> None:
        """Write what was said since the last time; ``-qq`` keeps it quiet."""
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get())
        stream = sys.__stderr__
        if not lines or stream is None or self._config.option.verbose < -1:
            return
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            stream.write("".join(f"\nedgeloop: {line}" for line in lines) + "\n")
            stream.flush()


class BackgroundLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgeloop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], meanwhile: Callable[[], None]) -> T:
        """Return what ``work`` returns; an interrupt cancels it and waits until it has cleaned up.

        Args:
            work: what is awaited.
            meanwhile: called about ten times a second, in the caller's thread.
        """
        ended = threading.Event()

        async def guarded() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(guarded(), self._loop)
        try:
            while True:
                meanwhile()
                try:
                    return future.result(_LOOK_S)
                except NotYetError:
                    if future.done():
                        raise
        except CancelledError as error:
            raise KeyboardInterrupt from error
        except BaseException:
            if future.cancel():
                ended.wait(_CLEAN_UP_S)
            raise
        finally:
            meanwhile()

    def close(self) -> None:
        """Stop the loop; nothing runs on it any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLEAN_UP_S)
        if not self._thread.is_alive():
            self._loop.close()
