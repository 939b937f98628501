"""Sustained figures, throughput, and runs that count for nothing."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from edgeloop.domain.candidate import Candidate
from edgeloop.select.decide import check_constraint
from edgeloop.select.evidence import collect
from edgeloop.select.expressions import parse_constraint, parse_preference
from edgeloop.select.quantities import (
    disqualification,
    require_one_series,
    series_of,
    throughput,
    with_throughput,
)
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.conditions import Anomaly, AnomalyKind, Preflight
from edgeloop_protocol.types.load import Sustained
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Verdict
from edgeloop_protocol.types.trial import Benchmark

Make = Callable[..., Candidate]
MakeRun = Callable[..., Run]

HOG = Anomaly(kind=AnomalyKind.FOREIGN_LOAD, round=2, reason="others used 40 %.")


def around(value: float, width: float = 0.02) -> Estimate:
    return Estimate(
        value=value,
        low=value * (1 - width),
        high=value * (1 + width),
        confidence=0.95,
        sample_count=300,
    )


def heated(run: Run, first: float, last: float) -> Run:
    sustained = Sustained(
        windows=(),
        first_minute_p50_s=around(first),
        last_minute_p50_s=around(last),
        last_minute_p95_s=around(1.1 * last),
        ratio=around(last / first),
        time_to_throttle_s=Estimate.absent("no throttle event was seen"),
        duration_s=1200.0,
    )
    return replace(run, sustained=sustained, benchmark=Benchmark(sustained_s=1200.0))


def blob_of(run: Run, factors: tuple[float, ...]) -> bytes:
    """Return raw samples whose processes differ by these factors, as long as the run says."""
    assert run.timing is not None
    assert run.timing.steady is not None
    nanoseconds = run.timing.steady.mean * 1e9
    values = [
        int(nanoseconds * factor)
        for factor, block in zip(factors, run.timing.blocks, strict=True)
        for _ in range(block.sample_count)
    ]
    return struct.pack(f"<{len(values)}q", *values)


def test_a_bound_on_sustained_latency_is_held_against_the_last_minute(candidate: Make, run: MakeRun) -> None:
    cool = collect([candidate("original")], [heated(run("original", [0.010] * 3), 0.010, 0.014)])[0]
    assert check_constraint(parse_constraint("latency_p50 < 12ms"), cool).verdict is Verdict.PASSED
    assert check_constraint(parse_constraint("latency_sustained_p50 < 12ms"), cool).verdict is Verdict.FAILED
    assert check_constraint(parse_constraint("latency_sustained_p95 < 16ms"), cool).verdict is Verdict.PASSED
    assert check_constraint(parse_constraint("sustained_ratio < 1.2"), cool).verdict is Verdict.FAILED
    assert check_constraint(parse_constraint("sustained_ratio < 1.41x"), cool).verdict is Verdict.UNDECIDED


def test_without_a_sustained_run_such_a_bound_is_undecided_and_says_how_to_get_one(
    candidate: Make, run: MakeRun
) -> None:
    found = collect([candidate("original")], [run("original", [0.01] * 3)])[0]
    check = check_constraint(parse_constraint("sustained_ratio < 1.2"), found)
    assert check.verdict is Verdict.UNDECIDED
    assert "--sustained" in check.reason


def test_gains_of_sustained_figures_are_over_the_original(candidate: Make, run: MakeRun) -> None:
    runs = [
        heated(run("original", [0.010] * 3), 0.010, 0.020),
        heated(run("a", [0.010] * 3), 0.010, 0.010),
    ]
    found = collect([candidate("original"), candidate("a")], runs)[1]
    gain = found.gain("latency_sustained_p50")
    assert gain.value == pytest.approx(2.0)
    assert gain.low == pytest.approx(2.0 * 0.98 / 1.02)
    assert found.gain("sustained_ratio").value == pytest.approx(2.0)


def test_they_can_be_preferred() -> None:
    names = [o.quantity for o in parse_preference("latency_sustained_p95:2,throughput,sustained_ratio")]
    assert names == ["latency_sustained_p95", "throughput", "sustained_ratio"]


def test_throughput_is_items_by_time_with_the_spread_of_the_processes(run: MakeRun) -> None:
    record = replace(run("a", [0.01] * 4), benchmark=Benchmark(batch_size=8))
    assert record.timing is not None
    digest = "d" * 64
    record = replace(record, timing=replace(record.timing, samples_digest=digest))
    assert throughput(record).low is None, "without samples nobody knows how processes differ"
    steady = throughput(record, {digest: blob_of(record, (1.0, 1.0, 1.0, 1.0))})
    wide = throughput(record, {digest: blob_of(record, (0.9, 1.0, 1.1, 1.0))})
    assert steady.value == pytest.approx(800.0, rel=0.01)
    assert (wide.high or 0) - (wide.low or 0) > 100.0
    assert (steady.high or 0) - (steady.low or 0) < 1.0
    spread = math.log((wide.high or 1) / (wide.low or 1)) / 2
    assert 0.08 < spread < 0.2, "four processes with 8 % of standard deviation and t(3)"
    assert throughput(record, {digest: b"\0" * 8}).low is None, "samples of another run are not used"


def test_throughput_gains_are_higher_for_faster(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [0.010] * 3), run("a", [0.005] * 3)]
    found = collect([candidate("original"), candidate("a")], runs)
    assert with_throughput(found, runs, {})[1].gain("throughput").value == pytest.approx(2.0, rel=0.01)
    check = check_constraint(parse_constraint("throughput > 50/s"), found[0])
    assert check.verdict is Verdict.UNDECIDED
    assert "interval" in check.reason


def preflight(*, series: str = "nominal", fit: bool = True) -> Preflight:
    return Preflight(series=series, fit=fit)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"anomalies": (HOG,)}, "foreign load in round 2: others used 40 %"),
        ({"anomalies": (replace(HOG, disqualifying=False),)}, ""),
        ({"preflight": preflight(fit=False)}, "not fit to measure"),
        ({"preflight": preflight(series="as_deployed", fit=False)}, ""),
        ({"preflight": preflight()}, ""),
        ({"benchmark": Benchmark(series="nominal")}, "nobody checked"),
    ],
)
def test_what_no_gate_accepts(run: MakeRun, changes: dict[str, Any], reason: str) -> None:
    found = disqualification(replace(run("a", [0.01] * 3), **changes))
    assert (reason in found) if reason else (found == "")


def test_a_refused_device_says_what_it_was_refused_for(run: MakeRun) -> None:
    refused = run(
        "a",
        outcome=Outcome.GATE_REFUSED,
        failure_kind=FailureKind.UNFIT_DEVICE,
        failure_reason="governor is powersave, required is performance.",
        preflight=preflight(fit=False),
    )
    assert disqualification(refused).endswith("governor is powersave, required is performance")


def test_disputed_timing_is_accepted_by_no_gate(run: MakeRun) -> None:
    assert "disagreed" in disqualification(run("a", [0.01] * 3, disputed=True))


def test_a_disqualified_original_proves_nothing_about_the_others(candidate: Make, run: MakeRun) -> None:
    runs = [replace(run("original", [0.010] * 5), anomalies=(HOG,)), run("a", [0.005] * 5)]
    original, other = collect([candidate("original"), candidate("a")], runs)
    assert original.disqualification
    assert not other.disqualification
    gain = other.gain("latency_p50")
    assert gain.value is None
    assert "the original's run does not count" in gain.reason
    assert other.gain("size").value is not None, "size needs no device"


def test_two_series_are_never_mixed(candidate: Make, run: MakeRun) -> None:
    nominal = replace(run("original", [0.01] * 3), preflight=preflight())
    as_is = run("a", [0.01] * 3)
    assert (series_of(nominal), series_of(as_is)) == ("nominal", "as_deployed")
    with pytest.raises(InvalidInputError, match="as_deployed and nominal, whose figures are never mixed"):
        collect([candidate("original"), candidate("a")], [nominal, as_is])
    require_one_series([nominal, nominal])


def test_evidence_says_its_series(candidate: Make, run: MakeRun) -> None:
    found = collect([candidate("original")], [replace(run("original", [0.01] * 3), preflight=preflight())])
    assert found[0].series == "nominal"
