"""What goes on in a serving process, and whether it takes longer than was signed.

An entry costs two writes into a dictionary, which need no lock. A runtime that never comes back leaves its entry, which
another thread reads.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Steps"]

_LOOK_S, _SIGN_OF_LIFE_S = 0.1, 1.0


class Steps:
    """The loads and runs under way."""

    def __init__(self) -> None:
        self._under_way: dict[int, tuple[float, str]] = {}
        self._numbers = itertools.count()

    def begin(self, limit_s: float, what: str) -> int:
        """Note that something began; return its number."""
        number = next(self._numbers)
        self._under_way[number] = (time.monotonic() + limit_s, what)
        return number

    def end(self, number: int) -> None:
        """Note that it is over."""
        del self._under_way[number]

    @contextmanager
    def step(self, limit_s: float, what: str) -> Iterator[None]:
        """Note what happens inside."""
        number = self.begin(limit_s, what)
        try:
            yield
        finally:
            self.end(number)

    def overdue(self, now_s: float) -> str:
        """Return what takes longer than it may; empty when nothing does."""
        late = [what for until_s, what in list(self._under_way.values()) if now_s > until_s]
        return late[0] if late else ""

    def watch(self, tell: Callable[[dict[str, Any]], None], ends: threading.Event) -> None:
        """Tell each second that the process goes on, and what is overdue, until ``ends``."""
        told_s = 0.0
        while not ends.wait(_LOOK_S):
            now_s = time.monotonic()
            if late := self.overdue(now_s):
                tell({"event": "overdue", "reason": late})
                return
            if now_s - told_s >= _SIGN_OF_LIFE_S:
                told_s = now_s
                tell({"event": "alive"})
