"""A few seeds of scripts/heavy/loop_crashes: controllers and agents through kills, power cuts and a bad wire."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from scripts.heavy.loop_simulation import Ground, simulate

SEEDS = (4, 6)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.make(tmp_path_factory.mktemp("ground"))


def test_the_loop_keeps_its_promises_and_a_seed_is_the_same_again(ground: Ground, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    traces = []
    for number, seed in enumerate((*SEEDS, SEEDS[0])):
        outcome = simulate(ground, tmp_path / str(number), seed)
        assert not outcome.complaints
        counts.update(outcome.counts)
        traces.append(outcome.trace)
    assert traces[0] == traces[-1] != traces[1]
    # Without these it would have shown nothing.
    for what in ("power cuts", "kills", "controller kills", "clock jumps", "calls late", "calls unanswered"):
        assert counts[what] > 0, what
    assert counts["jobs whose rows came"] > 5
    assert counts["records known"] > 0
    assert counts["devices serving"] > 5
