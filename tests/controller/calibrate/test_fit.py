"""Fits to devices whose truth is known: the starting profile with its figures multiplied."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path

import pytest
from edgeloop.calibrate.fit import Observation, fit, predict
from edgeloop.calibrate.result import calibrated
from edgeloop.calibrate.scale import scaled
from edgeloop_profiles import load_profile
from edgeloop_profiles.profile import Profile
from edgeloop_profiles.writing import to_toml
from edgeloop_protocol.types.artifact import Kernel

TRUTH = {
    "fp32/conv": 0.6,
    "fp32/conv1x1": 1.5,
    "fp32/depthwise": 0.7,
    "fp32/bytewise": 1.4,
    "kernel_overhead": 1.8,
}
START = load_profile("nuc11")


def kernel(kind: str, size: int) -> Kernel:
    moved = kind == "elementwise"
    positions = max(1, size // 10)
    depth = {"conv": 64 * 9, "conv1x1": 64, "depthwise": 9}.get(kind, 0)
    return Kernel(
        name=f"{kind}{size}",
        kernel_class=kind,
        op_type="Conv" if not moved else "Relu",
        precision="fp32",
        macs=64 * positions * depth,
        input_bytes=size * 40,
        weight_bytes=0 if moved else size,
        output_bytes=size * 40,
        input_channels=64,
        output_channels=64,
        output_positions=positions,
    )


def observation(
    device: Profile, family: str, kinds: tuple[str, ...], size: int, spread: float = 0.0, seed: int = 0
) -> Observation:
    kernels = tuple(kernel(kind, size + 500 * i) for i, kind in enumerate(kinds))
    blank = Observation(model=f"{family}-{size}", family=family, kernels=kernels, threads=1, latency_s=1.0)
    found = predict(device, "onnxruntime", blank)
    rng = random.Random(f"{seed}/{family}/{size}")
    return dataclasses.replace(
        blank,
        latency_s=found.point_s * rng.lognormvariate(0, spread),
        kernel_times_s=tuple(time.time_s * rng.lognormvariate(0, 2 * spread) for time in found.kernels),
    )


def suite(device: Profile, spread: float = 0.0, seed: int = 0) -> list[Observation]:
    families = {
        "conv": ("conv", "elementwise") * 4,
        "pointwise": ("conv1x1",) * 6,
        "separable": ("depthwise", "conv1x1") * 4,
        "bytewise": ("elementwise",) * 6,
        "tiny": ("elementwise",) * 40,
    }
    return [
        observation(device, family, kinds, 5 if family == "tiny" else size, spread, seed)
        for family, kinds in families.items()
        for size in ((4000,) if family == "tiny" else (4000, 20000))
    ]


def others(device: Profile) -> list[Observation]:
    mixed = ("conv", "conv1x1", "depthwise", "elementwise")
    return [observation(device, "mixed", mixed * n, size) for n in (2, 5) for size in (1000, 9000, 60000)]


def worst(profile: Profile, rows: list[Observation]) -> float:
    return max(abs(math.log(predict(profile, "onnxruntime", row).point_s / row.latency_s)) for row in rows)


def test_a_device_is_found_that_the_start_is_far_from() -> None:
    device = scaled(START, "onnxruntime", TRUTH)
    found = fit(START, "onnxruntime", suite(device))
    assert worst(START, others(device)) > 0.15
    assert worst(found.profile, others(device)) < 0.05
    factors = dict(found.factors)
    assert factors["fp32/conv"] == pytest.approx(0.6, rel=0.1)
    assert factors["fp32/conv1x1"] == pytest.approx(1.5, rel=0.1)


def test_what_was_not_measured_stays_as_it_was() -> None:
    device = scaled(START, "onnxruntime", TRUTH)
    rows = [row for row in suite(device) if row.family in ("conv", "pointwise")]
    found = fit(START, "onnxruntime", rows)
    assert "fp32/depthwise" not in dict(found.factors)
    untouched = [r for r in found.profile.runtime("onnxruntime").rates if r.kernel_classes == ("depthwise",)]
    before = [r for r in START.runtime("onnxruntime").rates if r.kernel_classes == ("depthwise",)]
    assert [r.macs_per_cycle for r in untouched] == [r.macs_per_cycle for r in before]


def test_shrinkage_is_taken_for_few_noisy_points_and_least_squares_for_many_far_ones() -> None:
    near = scaled(START, "onnxruntime", {"fp32/conv": 1.05})
    few = [row for row in suite(near, spread=0.15, seed=3) if row.family in ("conv", "pointwise")][:3]
    assert fit(START, "onnxruntime", few).method == "shrinkage"
    far = scaled(START, "onnxruntime", {name: value**3 for name, value in TRUTH.items()})
    assert fit(START, "onnxruntime", suite(far, spread=0.01)).method == "least squares"


def test_threads_are_fitted_only_where_both_counts_were_measured() -> None:
    device = scaled(START, "onnxruntime", {"threads": 1.6})
    rows = suite(device)
    assert "threads" not in dict(fit(START, "onnxruntime", rows).factors)
    for row in list(rows[:4]):
        both = dataclasses.replace(row, threads=4, kernel_times_s=())
        rows.append(dataclasses.replace(both, latency_s=predict(device, "onnxruntime", both).point_s))
    assert dict(fit(START, "onnxruntime", rows).factors)["threads"] == pytest.approx(1.6, rel=0.15)


def test_too_few_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="a fit needs 3 observations, there are 2"):
        fit(START, "onnxruntime", suite(START)[:2])


def test_a_latency_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="is above 0"):
        Observation(model="m", family="f", kernels=(), threads=1, latency_s=0.0)


def test_a_calibrated_profile_is_a_file_that_loads_and_carries_its_trust(tmp_path: Path) -> None:
    device = scaled(START, "onnxruntime", TRUTH)
    rows = suite(device, spread=0.03)
    start = dataclasses.replace(START, name="mine")
    profile = calibrated(
        fit(start, "onnxruntime", rows),
        rows,
        runtime="onnxruntime",
        runtime_version="1.31.1",
        device_id="d",
        date="2026-11-25",
    )
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(profile, "a comment\nof two lines"))
    loaded = load_profile(path)
    assert dataclasses.replace(loaded, digest="") == dataclasses.replace(profile, digest="")
    near = predict(loaded, "onnxruntime", rows[0])
    assert near.basis == "calibrated here, in family"
    assert near.trust.nearest_family == rows[0].family
    assert near.interval_factor < 1.5 < predict(START, "onnxruntime", rows[0]).interval_factor
    alien = dataclasses.replace(rows[0], threads=7)
    far = predict(loaded, "onnxruntime", alien)
    assert far.basis == "calibrated here, out of family"
    assert any("7 threads were not measured" in note for note in far.notes)
    assert far.interval_factor >= near.interval_factor
