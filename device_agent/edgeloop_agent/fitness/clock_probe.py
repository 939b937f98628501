"""The speed of a fixed busy loop: evidence of the real clock, which reported clocks are not."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ClockProbe"]

_PIECE_LOOPS = 20_000
"""A fraction of a millisecond on a fast core, some milliseconds on a slow one: short against a scheduler's slice."""

_PIECES = 12
"""The fastest of so many counts, because whatever interrupts one of them only ever makes it slower."""

_S = 1e9


class ClockProbe:
    """Counts in the process that asks, on whatever processor it is on.

    The ratio of two answers of one process is that of the clocks, where all processors share one; an answer by itself
    means nothing, for it depends on the interpreter.

    Args:
        now_ns: a monotonic clock.
        work: what is timed; takes a number of loops.
    """

    def __init__(
        self, now_ns: Callable[[], int] = time.perf_counter_ns, work: Callable[[int], None] | None = None
    ) -> None:
        self._now_ns = now_ns
        self._work = work or _count

    def loops_per_s(self) -> float:
        """Return the speed of the loop; blocks for some milliseconds."""
        return _PIECE_LOOPS * _S / min(self._piece_ns() for _ in range(_PIECES))

    def _piece_ns(self) -> int:
        before = self._now_ns()
        self._work(_PIECE_LOOPS)
        return max(1, self._now_ns() - before)


def _count(loops: int) -> None:
    for _ in range(loops):
        pass
