"""Sketches of served tensors: clean traffic is near the golden pack, planted drift is not, and no value is kept."""

from __future__ import annotations

import numpy as np
import pytest
from edgeloop_agent.serving.drift import BINS_MAX, DriftWatch
from edgeloop_agent.serving.model import load_slot, watch
from edgeloop_foundation.statistics.drift import kolmogorov_smirnov, stability_index
from edgeloop_protocol.types.telemetry import DriftSketch
from numpy.typing import NDArray

from scripts.bench.serving_slots import SlotBoard, linear

FEATURES = 64


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> SlotBoard:
    made = SlotBoard(tmp_path_factory.mktemp("board"))
    made.install("demo", 1, linear(2.0, features=FEATURES), items=32)
    made.install("few", 1, linear(2.0), items=7)
    return made


def watch_of(board: SlotBoard, name: str = "demo") -> DriftWatch:
    return watch(board.slots, name, load_slot(board.slots, name, board.slots.pointer(name).current, 1))


def feed(drift: DriftWatch, rows: NDArray[np.float32]) -> None:
    for start in range(0, len(rows), 4):
        some = rows[start : start + 4]
        drift.add({"x": some}, {"y": 2 * some})


def rows(count: int = 400, *, shift: float = 0.0, scale: float = 1.0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(5).standard_normal((count, FEATURES)) * scale + shift
    return drawn.astype(np.float32)


def sketches(drift: DriftWatch) -> dict[str, DriftSketch]:
    return {sketch.tensor: sketch for sketch in drift.sketches()}


def test_clean_traffic_is_near_the_golden_pack(board: SlotBoard) -> None:
    drift = watch_of(board)
    assert drift.reason == ""
    feed(drift, rows())
    found = sketches(drift)
    assert set(found) == {"x", "y"}
    assert [found[name].is_output for name in ("x", "y")] == [False, True]
    for sketch in found.values():
        assert (sketch.row_count, sum(sketch.counts), sum(sketch.expected)) == (
            400,
            400 * FEATURES,
            32 * FEATURES,
        )
        assert len(sketch.counts) <= BINS_MAX
        assert stability_index(sketch.expected, sketch.counts) < 0.05
        assert kolmogorov_smirnov(sketch.expected, sketch.counts) < 0.05
        assert sketch.reference_psi < 0.25


@pytest.mark.parametrize("planted", [{"shift": 1.0}, {"scale": 3.0}, {"scale": 0.2}, {"shift": 1e6}])
def test_planted_drift_is_seen_in_input_and_output(board: SlotBoard, planted: dict[str, float]) -> None:
    drift = watch_of(board)
    feed(drift, rows(**planted))
    for sketch in drift.sketches():
        assert stability_index(sketch.expected, sketch.counts) > 0.5
        assert kolmogorov_smirnov(sketch.expected, sketch.counts) > 0.1


def test_numbers_that_are_none_have_a_bin_of_their_own(board: SlotBoard) -> None:
    drift = watch_of(board)
    bad = rows(4)
    bad[0, :3] = [np.nan, np.inf, -np.inf]
    feed(drift, bad)
    assert sketches(drift)["x"].counts[-1] == 3
    assert sum(sketches(drift)["x"].counts) == 4 * FEATURES


def test_nothing_of_a_value_is_in_a_sketch(board: SlotBoard) -> None:
    """Two different extremes beyond the golden pack, one sketch."""
    first, second = watch_of(board), watch_of(board)
    feed(first, np.full((4, FEATURES), 1e3, np.float32))
    feed(second, np.full((4, FEATURES), 123456.0, np.float32))
    assert first.sketches() == second.sketches()


def test_a_large_tensor_is_counted_in_part_and_evenly(board: SlotBoard) -> None:
    drift = watch_of(board)
    one = np.zeros((1, 1024 * 100), np.float32)
    one[:, ::2] = 1e9
    drift.add({"x": one}, {"y": one})
    counts = sketches(drift)["x"].counts
    assert 1000 <= sum(counts) <= 1024
    assert sketches(drift)["x"].row_count == 1


def test_a_small_golden_pack_is_no_reference(board: SlotBoard) -> None:
    drift = watch_of(board, "few")
    assert drift.sketches() == ()
    assert drift.reason == "drift is not watched: the golden pack has 7 items of 8"
