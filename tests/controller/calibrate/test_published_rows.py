"""Published rows say what their repeats came to."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest
from edgeloop_profiles import load_profile
from edgeloop_protocol.types.artifact import Kernel

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


def convolution(size: int = 3, stride: int = 1, channels: int = 64) -> Kernel:
    positions = (56 // stride) ** 2
    return Kernel(
        name="c",
        kernel_class="conv",
        op_type="Conv",
        precision="fp32",
        macs=size**2 * channels * channels * positions,
        input_bytes=4 * channels * 56**2,
        weight_bytes=4 * size**2 * channels * channels,
        output_bytes=4 * channels * positions,
        input_channels=channels,
        output_channels=channels,
        output_positions=positions,
    )


def test_small_convolutions_of_stride_1_are_work_of_their_own(published_rows: Any) -> None:
    board = load_profile("raspberry_pi_4")

    def parts(runtime: str, *kernels: Kernel) -> dict[str, float]:
        return published_rows._parts(board, kernels, 1, runtime)  # type: ignore[no-any-return]

    for other in (convolution(size=5), convolution(stride=2), convolution(channels=8)):
        assert "3x3 conv" not in parts("armnn-1", other)
        assert parts("armnn-1", other) == parts("tflite-1", other)
    gathered, transformed = parts("tflite-1", convolution()), parts("armnn-1", convolution())
    assert "conv" not in gathered
    # Winograd's algorithm takes a quarter of the products, and moves as much.
    assert gathered["3x3 conv"] == pytest.approx(4.0 * transformed["3x3 conv"])
    assert gathered["3x3 conv/output"] == transformed["3x3 conv/output"]
    (int8,) = published_rows.in_precision([convolution()], "int8")
    assert parts("armnn-1", int8)["3x3 conv"] == parts("tflite-1", int8)["3x3 conv"]
    # int8 becomes 16 bits, of which an instruction does three quarters as many as of int8.
    assert parts("tflite-1", int8)["3x3 conv"] == pytest.approx(3.0 * parts("ncnn", int8)["3x3 conv"])
    assert published_rows._winograd_gain("neon_dotprod", "int8") == 1.0
