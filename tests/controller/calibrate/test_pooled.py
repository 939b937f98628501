"""A pool finds again what made the latencies, and knows how far it can say so."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
from edgeloop.calibrate.pooled import Pool, Row

COST = {"neon": (1.0, 4.0, 0.5), "avx2": (0.3, 0.5, 2.0)}
SPEED = {"a": 1.0, "b": 0.6, "c": 1.7, "d": 1.0, "e": 0.7}
TIER = {"a": "neon", "b": "neon", "c": "neon", "d": "avx2", "e": "avx2"}


def row(board: str, seed: int) -> Row:
    draw = random.Random(seed)
    parts = tuple(draw.uniform(0.1, 10.0) for _ in range(3))
    seconds = sum(p * c for p, c in zip(parts, COST[TIER[board]], strict=True)) / SPEED[board]
    keys = {"board": board, "tier": TIER[board], "cell": board, "runtime": "r", "precision": "fp32"}
    noise = random.Random(f"{board}{seed}").gauss(0, 0.02)
    return Row(
        parts=parts, keys=keys | {"model": str(seed)}, log_threads=0.0, log_latency=math.log(seconds) + noise
    )


ROWS = [row(board, seed) for board in SPEED for seed in range(14)]


def off(pool: Pool, rows: list[Row]) -> np.ndarray:
    return np.abs(pool.predict(rows)[0] - [r.log_latency for r in rows])


def test_new_models_on_measured_boards_are_met() -> None:
    fresh = [row(board, 100 + seed) for board in SPEED for seed in range(6)]
    assert off(Pool(ROWS), fresh).mean() < 0.06


def test_a_board_is_moved_by_a_few_of_its_own_rows() -> None:
    own = [r for r in ROWS if r.keys["board"] == "e"]
    rest = [r for r in ROWS if r.keys["board"] != "e"]
    none, three = off(Pool(rest), own[3:]).mean(), off(Pool(rest + own[:3]), own[3:]).mean()
    assert three < 0.5 * none
    assert three < 0.1


def test_the_spread_grows_away_from_what_was_measured() -> None:
    pool = Pool([r for r in ROWS if r.keys["board"] != "c"])
    near, far = row("a", 200), row("c", 200)
    strange = dataclasses.replace(far, keys={**far.keys, "tier": "x", "runtime": "y", "cell": "z"})
    _, spread = pool.predict([near, far, strange])
    assert spread[0] < spread[1] < spread[2]


def test_errors_left_out_are_those_of_another_fit() -> None:
    errors, _ = Pool(ROWS).left_out([r.keys["board"] for r in ROWS])
    again = Pool([r for r in ROWS if r.keys["board"] != "b"])
    own = [i for i, r in enumerate(ROWS) if r.keys["board"] == "b"]
    direct = again.predict([ROWS[i] for i in own])[0] - [ROWS[i].log_latency for i in own]
    assert errors[own] == pytest.approx(direct, abs=0.08)
