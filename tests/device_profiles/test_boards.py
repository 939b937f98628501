"""Boards whose rates were transferred are held against published rows of another runtime, ncnn.

Two differences are allowed for, and nothing else: ncnn computes fp16 where the processor can, which this runtime
does not, so those rows are up to four times faster than its fp32; and some rows are of another board with the same
cores, at the clock that stands beside them.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median

import pytest
from edgeloop_profiles import Profile, load_profile
from edgeloop_profiles.predict import Prediction, predict_latency
from edgeloop_protocol.types.artifact import Kernel

PUBLISHED = Path(__file__).parent / "data" / "published_boards.csv"
ROWS = list(csv.DictReader(PUBLISHED.read_text().splitlines()))
BOARDS = sorted({row["board"] for row in ROWS})
FP16_FACTOR = 4.0
MODELS = (("squeezenet-1.1", 227), ("mobilenet-v1-1.0", 224), ("resnet50", 224))

Architecture = Callable[[str, int, str], tuple[Kernel, ...]]


def profile_of(row: dict[str, str]) -> Profile:
    board = row["board"]
    # Two threads or fewer leave the other cores' clock to these.
    return load_profile(
        f"{board}@20w_2core" if board == "jetson_xavier_nx" and row["threads"] == "1" else board
    )


def predicted(row: dict[str, str], architecture: Architecture) -> Prediction:
    # There is no fp16 arithmetic in this runtime: those rows can only be held against fp32.
    precision = "fp32" if row["precision"] == "fp16" else row["precision"]
    return predict_latency(
        profile_of(row),
        architecture(row["model"], int(row["input"]), precision),
        threads=int(row["threads"]),
        frequency_hz=float(row["frequency_hz"]),
    )


@pytest.mark.parametrize("board", BOARDS)
def test_published_rows_lie_in_the_profiles_own_interval(board: str, architecture: Architecture) -> None:
    rows = [row for row in ROWS if row["board"] == board]
    assert len(rows) >= 3
    for row in rows:
        prediction = predicted(row, architecture)
        ratio = float(row["min_ms"]) / (prediction.point_s * 1e3)
        fastest = FP16_FACTOR if row["precision"] == "fp16" else prediction.interval_factor
        assert 1 / fastest <= ratio <= prediction.interval_factor, row


@pytest.mark.parametrize("board", BOARDS)
def test_rows_of_the_same_precision_are_met_on_average(board: str, architecture: Architecture) -> None:
    ratios = [
        float(row["min_ms"]) / (predicted(row, architecture).point_s * 1e3)
        for row in ROWS
        if row["board"] == board and row["precision"] != "fp16"
    ]
    bias = math.exp(sum(map(math.log, ratios)) / len(ratios))
    assert 0.75 < bias < 1.25


@pytest.mark.parametrize("board", BOARDS)
def test_models_come_in_the_published_order(board: str, architecture: Architecture) -> None:
    """Wherever two published times differ by more than a quarter."""
    rows = [row for row in ROWS if row["board"] == board]
    compared = 0
    for one, other in combinations(rows, 2):
        alike = all(one[name] == other[name] for name in ("precision", "threads"))
        if alike and float(other["min_ms"]) > 1.25 * float(one["min_ms"]):
            assert predicted(other, architecture).point_s > predicted(one, architecture).point_s
            compared += 1
    assert compared >= 2


def test_boards_come_in_the_published_order(architecture: Architecture) -> None:
    """Single-thread fp32 times of ncnn fall in this order for each of the three models."""
    boards = ("raspberry_pi_zero_2w", "raspberry_pi_3b_plus", "raspberry_pi_4", "mini_pc_n5105", "nuc8_i5")
    for model, side in MODELS:
        table = architecture(model, side, "fp32")
        points = [predict_latency(load_profile(board), table, threads=1).point_s for board in boards]
        assert points == sorted(points, reverse=True)


@pytest.mark.parametrize(
    ("board", "threads", "gain"),
    [
        ("raspberry_pi_zero_2w", 4, 1.56),
        ("raspberry_pi_3b_plus", 4, 1.52),
        ("raspberry_pi_4", 4, 1.36),
        ("jetson_nano", 4, 1.33),
        ("mini_pc_n5105", 4, 0.82),
    ],
)
def test_what_int8_brings_is_near_the_published_median(
    board: str, threads: int, gain: float, architecture: Architecture
) -> None:
    """Medians of ncnn over its networks; boards with fp16 have none, for their int8 is held against fp16."""
    profile = load_profile(board)
    found = median(
        predict_latency(profile, architecture(model, side, "fp32"), threads=threads).point_s
        / predict_latency(profile, architecture(model, side, "int8"), threads=threads).point_s
        for model, side in MODELS
    )
    assert (found > 1) == (gain > 1)
    assert 1 / 1.35 < found / gain < 1.35


@pytest.mark.parametrize(
    ("board", "threads", "gain"),
    [
        ("raspberry_pi_zero_2w", 4, 2.1),
        ("raspberry_pi_3b_plus", 4, 1.65),
        ("jetson_nano", 4, 2.9),
        ("jetson_orin_nano", 6, 3.4),
        ("mini_pc_n5105", 4, 3.0),
    ],
)
def test_what_threads_bring_is_the_published_median(board: str, threads: int, gain: float) -> None:
    assert load_profile(board).runtimes[0].threads.speedup[threads - 1] == gain


def test_every_figure_of_the_benchs_boards_has_a_source_or_is_marked() -> None:
    """Figures from memory alone are listed as assumed; a row rests on a named document for the others."""
    path = Path(__file__).parents[2] / "scripts" / "bench" / "data" / "boards.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    figures = set(rows[0]) - {"board", "core", "source", "assumed"}
    named = re.compile(r"raspberrypi/|NVIDIA data sheet|Intel ARK|ncnn benchmark/README|shipped profile")
    for row in rows:
        assumed = set(row["assumed"].split())
        assert assumed <= figures
        assert assumed != figures
        assert named.search(row["source"]), row["board"]
        # One core's bandwidth was measured with a named program, or it is marked.
        assert ("tinymembench" in row["source"]) is ("one_core_bytes_per_s" not in assumed)
