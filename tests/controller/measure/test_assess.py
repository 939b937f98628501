from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edgeloop.domain.latency import Steadiness
from edgeloop.measure.assess import assess
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_protocol.types.load import Sustained, Window
from edgeloop_protocol.types.measurement import Estimate

from tests.controller.measure.noise import process
from tests.controller.measure.runs import made_run


def processes(count: int = 5, samples: int = 200, spread: float = 0.02) -> list[np.ndarray]:
    rng = np.random.default_rng(61)
    return [
        2e-3 * process(rng, samples, spread=spread, shift=0.01 * rng.standard_normal()) for _ in range(count)
    ]


def test_a_settled_run_has_its_quantiles_with_intervals_wider_than_those_of_samples() -> None:
    run, blob = made_run("a", processes())
    found = assess(run, blob)
    assert found.settled
    assert (found.sample_count, len(found.processes), len(found.modes)) == (1000, 5, 1)
    assert found.p50.value == pytest.approx(float(np.median(np.frombuffer(blob, "<i8"))) * 1e-9)
    assert run.timing is not None
    assert run.timing.steady is not None
    pooled = run.timing.steady.p50
    assert found.p50.low is not None
    assert pooled.low is not None
    assert found.p50.low < pooled.low
    assert found.p99.value is not None
    assert found.severe_outlier_count > 0
    assert assess(run, blob) == found


def test_warm_up_is_left_out_of_the_quantiles_and_stays_in_the_record() -> None:
    slow_first = [np.concatenate([1.5 * p[:50], p[50:]]) for p in processes()]
    run, blob = made_run("a", slow_first)
    found = assess(run, blob)
    assert found.steadiness is Steadiness.WARM_UP
    assert 700 <= found.sample_count <= 780
    assert found.p50.value == pytest.approx(2e-3, rel=0.02)


def test_without_steady_state_there_is_no_number_but_the_series_is_there() -> None:
    never = [np.concatenate([p[:170], 1.4 * p[170:]]) for p in processes()]
    run, blob = made_run("a", never)
    found = assess(run, blob)
    assert found.steadiness is Steadiness.NO_STEADY_STATE
    assert found.p50.reason.startswith("there is no steady state: of 5 processes: 5 no steady state")
    assert len(found.processes[0].window_medians_s) == 40


def test_both_modes_are_reported() -> None:
    rng = np.random.default_rng(67)
    two = []
    for part in processes(spread=0.01):
        values = part.copy()
        values[rng.random(len(values)) < 0.25] *= 1.3
        two.append(values)
    run, blob = made_run("a", two)
    faster, slower = assess(run, blob).modes
    assert slower.centre_s / faster.centre_s == pytest.approx(1.3, rel=0.05)
    assert slower.share == pytest.approx(0.25, abs=0.08)


def test_tails_need_their_floors() -> None:
    run, blob = made_run("a", processes(count=3, samples=40))
    found = assess(run, blob)
    assert found.p90.value is not None
    assert "needs 130 samples" in found.p95.reason
    assert "needs 662 samples" in found.p99.reason


def test_a_sustained_run_that_still_warms_the_board_up_has_not_settled() -> None:
    none = Estimate.absent("n/a")
    windows = tuple(
        Window(start_s=60.0 * i, duration_s=60.0, sample_count=10, temperature_celsius=50.0 + i)
        for i in range(8)
    )
    sustained = Sustained(
        windows=windows,
        first_minute_p50_s=none,
        last_minute_p50_s=none,
        last_minute_p95_s=none,
        ratio=none,
        time_to_throttle_s=none,
        duration_s=480.0,
    )
    run, blob = made_run("a", processes(), sustained=sustained)
    assert "1.0 K per minute" in assess(run, blob).reason


def test_what_cannot_be_assessed_says_why() -> None:
    run, blob = made_run("a", processes())
    assert assess(run, None).reason == "its raw samples are not kept"
    disputed, _ = made_run("a", processes(), disputed=True)
    assert "clocks" in assess(disputed, blob).p50.reason
    assert "no steady latency" in assess(replace(run, timing=None), blob).reason
    with pytest.raises(CorruptDataError, match="the blob has 999"):
        assess(run, blob[:-8])
    with pytest.raises(CorruptDataError, match="no whole number"):
        assess(run, blob[:-3])
