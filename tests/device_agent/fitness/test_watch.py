"""A loop that is slow for a moment is a neighbour; one that stays slow is a lowered clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop_agent.board import RealBoard
from edgeloop_agent.fitness.watch import Watcher
from edgeloop_agent.sensors.clock_probe import ClockProbe
from edgeloop_foundation.ports.process import SystemProcesses


def board(path: Path, factors: Iterator[int]) -> RealBoard:
    """Return this machine with a probe each of whose looks runs on a timer that is so many times too fast."""
    looks = {"left": 0, "factor": 1, "now_ns": 0}

    def timer_ns() -> int:
        # A look reads the timer at its start and twice per slice, and once at its end.
        if looks["left"] == 0:
            looks.update(left=2 + 2, factor=next(factors))
        looks["left"] -= 1
        looks["now_ns"] += 1_000_000 * looks["factor"]
        return looks["now_ns"]

    return RealBoard(
        path,
        "here",
        SystemProcesses(),
        clock_probe=ClockProbe(timer_ns=timer_ns, slice_count=1, loop_count=200_000),
    )


@pytest.mark.parametrize(
    ("factors", "lowered"),
    [
        pytest.param((1, 1), False, id="undisturbed"),
        pytest.param((1, 3, 1), False, id="slow for one look"),
        pytest.param((1, 3, 3, 3, 3, 3, 3, 1), False, id="slow but for the last look"),
        pytest.param((1, 3, 3, 3, 3, 3, 3, 3), True, id="stays slow"),
    ],
)
async def test_a_slow_loop_is_timed_again_before_it_is_believed(
    tmp_path: Path, factors: tuple[int, ...], lowered: bool
) -> None:
    left = iter(factors)
    watcher = Watcher(board(tmp_path, left), None)
    await watcher.begin()
    watched = await watcher.end()
    assert watched is not None
    assert watched.watch.clock_probe_ratio is not None
    assert (watched.watch.clock_probe_ratio < 0.75) == lowered
    # One more look than was needed would find nothing left.
    assert list(left) == []
