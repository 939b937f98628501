"""Published rows say what their repeats came to."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[3] / "scripts" / "bench"


@pytest.fixture
def published_rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("published_rows")


@pytest.mark.parametrize(
    ("entry", "latency_s", "repeated_s"),
    [
        ({"p50_ms": "10", "p90_ms": "12", "mean_ms": "11"}, 0.010, 0.012),
        ({"p50_ms": "", "mean_ms": "9", "min_ms": "8"}, 0.008, 0.009),
        ({"mean_ms": "9"}, 0.009, 0.009),
        ({"min_ms": "8"}, 0.008, 0.008),
        # A rounded mean can lie below the smallest; repeats are never better than the best one.
        ({"mean_ms": "7.9", "min_ms": "8"}, 0.008, 0.008),
    ],
)
def test_the_worse_end_of_repeats_is_what_the_source_gives(
    published_rows: Any, entry: dict[str, str], latency_s: float, repeated_s: float
) -> None:
    assert published_rows._latency_s(entry) == pytest.approx(latency_s)
    assert published_rows._repeated_s(entry, latency_s) == pytest.approx(repeated_s)


def test_a_mean_is_never_below_the_smallest_in_the_tables() -> None:
    for row in csv.DictReader((BENCH / "data" / "ncnn_boards.csv").read_text().splitlines()):
        if row["mean_ms"]:
            assert float(row["mean_ms"]) >= float(row["min_ms"]), row


def test_int8_and_float_of_a_pair_both_have_their_repeats() -> None:
    rows = list(csv.DictReader((BENCH / "data" / "ncnn_boards.csv").read_text().splitlines()))
    places = {
        (r["board"], r["runtime"], r["threads"], r["model"], r["precision"] == "int8"): r["mean_ms"]
        for r in rows
    }
    int8 = [place for place in places if place[-1]]
    assert len(int8) >= 100
    for *where, _ in int8:
        assert places[(*where, True)], where
        assert places[(*where, False)], where
