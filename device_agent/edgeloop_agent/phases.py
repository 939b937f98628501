"""Marks of what the board was doing when, on its own clock: what meters are aligned by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.types.conditions import Phase

__all__ = ["phase"]


@contextlib.contextmanager
def phase(clock: Clock, phases: list[Phase], name: str, round_index: int = -1) -> Iterator[None]:
    """Mark the stretch within, also when it ends early; one that took no time at all is not marked."""
    start = clock.monotonic_ns()
    try:
        yield
    finally:
        end = clock.monotonic_ns()
        if end > start:
            phases.append(Phase(name=name, round=round_index, start_ns=start, end_ns=end))
