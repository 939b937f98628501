from __future__ import annotations

import math

import numpy as np
import pytest
from edgeloop.domain.comparison import ChangeVerdict, NoiseFloor, RatioEstimate
from edgeloop.measure.ratio import compare_runs, judge, noise_fraction
from edgeloop_protocol.types.measurement import Estimate

from tests.controller.measure.noise import process
from tests.controller.measure.runs import made_run

SMALL = NoiseFloor(fraction=0.004, count=3, newest_age_s=1.0, oldest_age_s=2.0)


def pair(rng: np.random.Generator, slower: float, rounds: int = 6, samples: int = 80, between: float = 0.004):  # type: ignore[no-untyped-def]
    """Two runs whose rounds drift together and whose processes differ."""
    a, b = [], []
    for _ in range(rounds):
        common = 0.05 * rng.standard_normal()
        a.append(2e-3 * process(rng, samples, phi=0.3, shift=common + between * rng.standard_normal()))
        b.append(
            2e-3 * slower * process(rng, samples, phi=0.3, shift=common + between * rng.standard_normal())
        )
    (run_a, blob_a), (run_b, blob_b) = made_run("a", a), made_run("b", b)
    assert run_a.timing is not None
    assert run_b.timing is not None
    return run_a, run_b, {run_a.timing.samples_digest: blob_a, run_b.timing.samples_digest: blob_b}


def test_five_percent_is_found_through_a_drift_of_five_percent_and_equals_are_not_told_apart() -> None:
    rng = np.random.default_rng(71)
    slower = [judge(compare_runs(*pair(rng, 1.05))[0], SMALL) for _ in range(25)]
    assert sum(r.verdict is ChangeVerdict.SLOWER for r in slower) >= 24
    same = [judge(compare_runs(*pair(rng, 1.0))[0], SMALL) for _ in range(60)]
    assert sum(r.raw_change for r in same) <= 8
    assert all(r.verdict is ChangeVerdict.NO_CHANGE_SHOWN for r in same)
    faster = judge(compare_runs(*pair(rng, 0.9))[0], SMALL)
    assert faster.verdict is ChangeVerdict.FASTER
    assert faster.gain.value == pytest.approx(1 / 0.9, rel=0.02)


def test_the_ratio_of_rounds_is_students_interval_on_log_ratios() -> None:
    rng = np.random.default_rng(73)
    a, b, samples = pair(rng, 1.02)
    assert a.timing is not None
    assert b.timing is not None
    logs = [
        math.log((y.p50_s or 0.0) / (x.p50_s or 1.0))
        for x, y in zip(a.timing.blocks, b.timing.blocks, strict=True)
    ]
    p50, p90 = compare_runs(a, b, samples)
    half = 2.5705818366147395 * float(np.std(logs, ddof=1)) / math.sqrt(6)
    assert p50.ratio.low == pytest.approx(math.exp(np.mean(logs) - half), rel=1e-6)
    assert (p50.method, p90.method) == ("paired rounds", "paired rounds")
    assert p50.ratio.low is not None
    assert p50.ratio.value is not None
    assert p50.gain.high == pytest.approx(1 / p50.ratio.low)


def test_rounds_too_short_for_a_tail_are_taken_together_or_not_at_all() -> None:
    rng = np.random.default_rng(79)
    together = compare_runs(*pair(rng, 1.0, samples=20))[1]
    assert together.method == "hierarchical bootstrap"
    assert together.ratio.low is not None
    few = compare_runs(*pair(rng, 1.0, rounds=4, samples=10))[1]
    assert few.ratio.reason == "p90 needs 64 samples, 40 were taken"
    assert "needs 3 rounds" in compare_runs(*pair(rng, 1.0, rounds=2))[0].reason


def test_a_disputed_clock_leaves_no_ratio() -> None:
    rng = np.random.default_rng(83)
    good, blob = made_run("a", [process(rng, 50) for _ in range(3)])
    bad, _ = made_run("b", [process(rng, 50) for _ in range(3)], disputed=True)
    assert good.timing is not None
    (p50, _) = compare_runs(good, bad, {good.timing.samples_digest: blob})
    assert p50.ratio.value is None
    assert p50.reason.startswith("b: the clocks")


def ratio(value: float, low: float, high: float) -> RatioEstimate:
    estimate = Estimate(value=value, low=low, high=high, confidence=0.95, sample_count=6)
    return RatioEstimate(
        quantity="latency_p50", ratio=estimate, gain=estimate, verdict=ChangeVerdict.UNDECIDED
    )


@pytest.mark.parametrize(
    ("interval", "floor", "verdict"),
    [
        ((1.03, 1.02, 1.04), 0.0, ChangeVerdict.SLOWER),
        # Surely above 1, yet by less than anybody acts upon; or by less than the device does to itself.
        ((1.006, 1.004, 1.008), 0.0, ChangeVerdict.NO_CHANGE_SHOWN),
        ((1.03, 1.02, 1.04), 0.025, ChangeVerdict.NO_CHANGE_SHOWN),
        ((0.95, 0.94, 0.96), 0.02, ChangeVerdict.FASTER),
        ((1.02, 0.93, 1.12), 0.0, ChangeVerdict.UNDECIDED),
    ],
)
def test_the_verdict_holds_the_interval_against_the_larger_of_one_percent_and_the_floor(
    interval: tuple[float, float, float], floor: float, verdict: ChangeVerdict
) -> None:
    noise = NoiseFloor(fraction=floor, count=5, newest_age_s=0.0, oldest_age_s=0.0)
    assert judge(ratio(*interval), noise).verdict is verdict


def test_nothing_is_called_where_the_noise_is_unknown() -> None:
    slower = ratio(1.5, 1.4, 1.6)
    assert judge(slower, None).verdict is ChangeVerdict.UNDECIDED
    assert "not known" in judge(slower, None).reason


def around(value: float, half_width: float = 0.002) -> Estimate:
    return Estimate(value=value, low=value - half_width, high=value + half_width)


def test_the_floor_is_what_intervals_miss_one_by_the_largest_of_few_and_a_quantile_of_many() -> None:
    assert noise_fraction([around(1.0), around(0.98), around(1.004)]) == pytest.approx(1 / 0.982 - 1)
    many = [around(1.0 + 0.001 * i) for i in range(100)]
    assert noise_fraction(many) == pytest.approx(0.092, abs=0.002)
    assert noise_fraction([Estimate(value=1.03)]) == pytest.approx(0.03)


def test_a_wide_interval_around_one_lifts_no_floor() -> None:
    # What was far off, but said so itself, must not hide what later comparisons are sure of.
    assert noise_fraction([around(1.05, half_width=0.06), around(0.999)]) == 0.0


def test_processes_that_differ_more_than_their_samples_say_lift_the_floor() -> None:
    rng = np.random.default_rng(5)
    # Two placements of the weights in memory, each for a whole comparison: rounds agree, comparisons do not.
    found = [
        compare_runs(*pair(rng, math.exp(0.03 * rng.standard_normal()), between=0.001))[0].ratio
        for _ in range(25)
    ]
    assert 0.03 < noise_fraction(found) < 0.09
