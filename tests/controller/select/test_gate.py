"""A gate's answers follow the interval, and nothing that no gate accepts gets through."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edgeloop.domain.baseline import Baseline, BaselineFile, fingerprint, refusal
from edgeloop.domain.strategy import Evidence
from edgeloop.select.expressions import parse_constraint
from edgeloop.select.gate import (
    GateCheck,
    hold_bound,
    hold_parity,
    hold_slowdown,
    objection,
    samples_that_decide,
)
from edgeloop_protocol.types.conditions import Anomaly, AnomalyKind
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Source, Verdict
from edgeloop_protocol.types.trial import RuntimeSettings
from hypothesis import given
from hypothesis import strategies as st

from tests.controller.report.factory import experiment


def measured() -> tuple[Run, Evidence, Facts]:
    device = experiment().devices[0]
    assert device.facts is not None
    return device.runs[0], device.evidence[0], device.facts


def estimate(value: float, low: float, high: float, count: int = 100) -> Estimate:
    return Estimate(value=value, low=low, high=high, confidence=0.95, sample_count=count)


def hold(value: Estimate, bound_s: float, run: Run | None = None, allow: bool = False) -> GateCheck:
    given_run, evidence, _ = measured()
    evidence = replace(evidence, values=(("latency_p95", value),), basis="datasheet")
    constraint = parse_constraint(f"latency_p95 <= {bound_s}s")
    return hold_bound(constraint, evidence, run or given_run, allow_predicted=allow)


@given(st.floats(0.1, 10), st.floats(0, 3), st.floats(0, 3), st.floats(0.1, 20))
def test_the_interval_decides(value: float, below: float, above: float, bound: float) -> None:
    low, high = max(value - below, 0.01), value + above
    verdict = hold_slowdown("c", estimate(max(value, low), low, high), bound, "how").verdict
    if high <= 1 + bound:
        assert verdict is Verdict.PASSED
    elif low > 1 + bound:
        assert verdict is Verdict.FAILED
    else:
        assert verdict is Verdict.UNDECIDED


def test_a_bound_is_passed_failed_or_open() -> None:
    value = estimate(0.030, 0.028, 0.033)
    assert hold(value, 0.040).verdict is Verdict.PASSED
    assert hold(value, 0.020).verdict is Verdict.FAILED
    across = hold(value, 0.031)
    assert across.verdict is Verdict.UNDECIDED
    # 3 ms half-width has to become 1 ms: nine times the samples.
    assert "about 900 samples instead of 100 would decide" in across.reason
    assert hold(Estimate(value=0.03), 0.04).verdict is Verdict.UNDECIDED
    floor = Estimate.absent("p95 needs 130 samples, 64 were taken", 64)
    assert "needs 130 samples, 64 were taken" in hold(floor, 0.04).reason


def test_the_count_that_decides_shrinks_the_interval_to_the_bound() -> None:
    value = estimate(1.0, 0.9, 1.2, 50)
    assert samples_that_decide(value, 1.1) == pytest.approx(200, abs=1)
    assert samples_that_decide(value, 0.95) == pytest.approx(200, abs=1)
    assert samples_that_decide(value, 1.0) is None
    assert samples_that_decide(value, 2.0) is None, "it is decided already"
    assert samples_that_decide(Estimate(value=1.0), 2.0) is None


def disturbed(disqualifying: bool, kind: AnomalyKind = AnomalyKind.FOREIGN_LOAD) -> Run:
    anomaly = Anomaly(kind=kind, reason="others used 40 % of the processors.", disqualifying=disqualifying)
    return replace(measured()[0], anomalies=(anomaly,))


def ended(outcome: Outcome, kind: FailureKind) -> Run:
    return replace(
        measured()[0], outcome=outcome, failure_kind=kind, failure_reason="the reason.", timing=None
    )


def test_what_no_gate_accepts_is_undecided_with_its_reason() -> None:
    run = measured()[0]
    good = estimate(0.030, 0.028, 0.033)
    assert run.timing is not None
    for objectionable, words in (
        (disturbed(True), "disturbed (foreign load): others used 40 %"),
        (
            replace(run, timing=replace(run.timing, timing_disputed=True)),
            "clocks of runner and agent disagreed",
        ),
        (replace(run, source=Source.THIRD_PARTY), "third-party"),
        (ended(Outcome.GATE_REFUSED, FailureKind.UNFIT_DEVICE), "refused as unfit to measure: the reason"),
        (ended(Outcome.CANCELLED, FailureKind.CANCELLED), "says nothing about the model"),
    ):
        answer = hold(good, 1.0, objectionable, allow=True)
        assert answer.verdict is Verdict.UNDECIDED
        assert words in answer.reason
    assert objection(disturbed(False)) == ""
    assert hold(good, 1.0, disturbed(False)).verdict is Verdict.PASSED


def test_a_model_that_does_not_run_has_failed() -> None:
    crashed = ended(Outcome.USER_ERROR, FailureKind.RUNNER_CRASHED)
    assert hold(estimate(1, 1, 1), 9.0, crashed).verdict is Verdict.FAILED
    assert hold_parity(measured()[1], crashed).verdict is Verdict.FAILED


def test_predicted_figures_decide_ratios_and_no_absolute_bound() -> None:
    simulated = next(
        r for d in experiment().devices for r in d.runs if r.source is Source.SIMULATED and r.timing
    )
    value = estimate(0.030, 0.028, 0.033)
    for bound in (0.001, 1.0):
        assert hold(value, bound, simulated).verdict is Verdict.UNDECIDED
    assert hold(value, 1.0, simulated, allow=True).verdict is Verdict.PASSED
    assert hold(value, 0.001, simulated, allow=True).verdict is Verdict.FAILED
    size = replace(measured()[1], values=(("size", estimate(100, 100, 100)),))
    assert (
        hold_bound(parse_constraint("size <= 1kB"), size, simulated, allow_predicted=False).verdict
        is Verdict.PASSED
    )


def test_parity_follows_the_outputs_not_the_clock() -> None:
    run, evidence, _ = measured()
    assert hold_parity(evidence, run).verdict is Verdict.PASSED
    assert hold_parity(evidence, disturbed(True)).verdict is Verdict.PASSED
    fallback = disturbed(True, AnomalyKind.PROVIDER_FALLBACK)
    assert hold_parity(evidence, fallback).verdict is Verdict.UNDECIDED
    failed = replace(evidence, parity=Verdict.FAILED, parity_reason="off by 3")
    assert hold_parity(failed, fallback).verdict is Verdict.FAILED
    assert hold_parity(replace(evidence, parity=None), run).verdict is Verdict.UNDECIDED


def baseline(run: Run, facts: Facts) -> Baseline:
    assert run.timing is not None
    assert run.timing.steady is not None
    return Baseline(
        model="m",
        device="d",
        board="b",
        fingerprint=fingerprint(facts),
        source=run.source,
        series=run.benchmark.series,
        runtime_version=run.runtime_version,
        settings=run.trial.settings,
        batch_size=run.benchmark.batch_size,
        artifact_digest="a" * 64,
        recorded_on="2026-11-25",
        edgeloop_version="0",
        latency=run.timing.steady,
    )


def test_a_baseline_is_for_its_own_conditions_only() -> None:
    run, _, facts = measured()
    known = baseline(run, facts)
    assert refusal(known, run, facts) == ""
    other = replace(facts, hardware=replace(facts.hardware, cpu_model="another"))
    assert "another device" in refusal(known, run, other)
    assert refusal(known, run, replace(facts, device_id="installed anew")) == ""
    settings = replace(run, trial=replace(run.trial, settings=RuntimeSettings(intra_op_threads=7)))
    assert "another set of runtime settings" in refusal(known, settings, facts)
    batch = replace(run, benchmark=replace(run.benchmark, batch_size=9))
    assert "another batch size" in refusal(known, batch, facts)


def test_a_file_holds_one_baseline_per_model_and_device() -> None:
    run, _, facts = measured()
    first = baseline(run, facts)
    second = replace(first, recorded_on="2026-11-26")
    file = BaselineFile().with_baseline(first).with_baseline(replace(first, device="e")).with_baseline(second)
    assert len(file.baselines) == 2
    assert file.find("m", "d") == second
    assert file.find("m", "f") is None
