from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.latency import LatencyAssessment, Steadiness
from edgeloop.domain.recipe import ORIGINAL
from edgeloop.domain.strategy import Decision
from edgeloop.select.decide import decide
from edgeloop.select.evidence import collect
from edgeloop.select.expressions import parse_preference
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import (
    Energy,
    FailureKind,
    Memory,
    Outcome,
    Run,
    Source,
    SteadyState,
    Verdict,
)

Make = Callable[..., Candidate]
MakeRun = Callable[..., Run]


def test_the_gain_is_the_paired_ratio_of_block_medians(candidate: Make, run: MakeRun) -> None:
    before, after = [1.0, 2.0, 4.0], [0.5, 0.9, 2.2]
    found = collect([candidate("original"), candidate("a")], [run("original", before), run("a", after)])
    gain = found[1].gain("latency_p50")
    logs = np.log(np.divide(before, after))
    half = 4.302652729749464 * logs.std(ddof=1) / math.sqrt(3)
    assert gain.value == pytest.approx(math.exp(logs.mean()))
    assert (gain.low, gain.high) == pytest.approx(
        (math.exp(logs.mean() - half), math.exp(logs.mean() + half))
    )
    assert gain.sample_count == 3
    # The device was four times slower in the last round; unpaired, nothing could be told.
    assert gain.low is not None
    assert gain.low > 1.5
    assert found[0].gain("latency_p50").value == 1.0


def test_two_rounds_are_too_few(candidate: Make, run: MakeRun) -> None:
    found = collect([candidate("original"), candidate("a")], [run("original", [1, 1]), run("a", [0.5, 0.5])])
    assert (
        found[1].gain("latency_p50").reason
        == "the gain in latency_p50 needs 3 rounds with both models, there are 2"
    )


def test_only_the_originals_run_of_the_same_job_counts(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [1] * 3, job="old"), run("a", [0.5] * 3, job="new", started=2)]
    found = collect([candidate("original"), candidate("a")], runs)
    assert "same job" in found[1].gain("latency_p50").reason
    assert found[1].gain("size").value == 1.0


def test_cold_rounds_are_no_load_times(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [1, 1, 1]), run("a", [0.5, 0.5, 0.5])]
    found = collect([candidate("original"), candidate("a")], runs)[1]
    assert found.gain("first_inference").value == pytest.approx(2.0)
    assert "there are 2" in found.gain("load_time").reason


def test_tails_and_energy_take_the_least_favourable_ends(
    candidate: Make, run: MakeRun, energy: Callable[..., Energy]
) -> None:
    runs = [run("original", [1] * 4, energy=energy(4, 3, 5)), run("a", [0.5] * 4, energy=energy(2, 1, 2.5))]
    before, after = collect([candidate("original"), candidate("a")], runs)
    gain = after.gain("energy")
    assert (gain.low, gain.value, gain.high) == pytest.approx((3 / 2.5, 2.0, 5.0))
    p90 = after.gain("latency_p90")
    assert p90.low == pytest.approx(before.value("latency_p90").low / after.value("latency_p90").high)  # type: ignore[operator]
    assert after.gain("latency_p99").value is None


def test_the_gain_of_a_tail_is_no_surer_than_that_of_the_median(candidate: Make, run: MakeRun) -> None:
    """Thousands of samples tell a quantile exactly; that another process would be 3 % off they do not tell."""
    medians = ([1.00, 1.03, 1.01, 0.99, 1.04], [0.98, 0.99, 1.02, 1.00, 1.01])
    runs = [run(label, values) for label, values in zip(("original", "a"), medians, strict=True)]
    found = collect([candidate("original"), candidate("a")], runs)[1]
    tail, median = found.gain("latency_p90"), found.gain("latency_p50")
    assert median.low is not None
    assert tail.low is not None
    assert median.value is not None
    assert tail.value is not None
    assert tail.low / tail.value <= median.low / median.value + 1e-9
    assert tail.low < 1.0 < tail.value


def test_the_gain_of_a_tail_has_no_interval_where_rounds_are_too_few(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [1.0] * 2), run("a", [0.5] * 2)]
    gain = collect([candidate("original"), candidate("a")], runs)[1].gain("latency_p90")
    assert (gain.value, gain.low) == (pytest.approx(2.0, rel=0.01), None)


def test_size_is_exact_and_memory_has_its_allowance(
    candidate: Make, run: MakeRun, memory: Callable[..., Memory]
) -> None:
    runs = [
        run("original", memory=memory(2000)),
        run("a", memory=memory(1000)),
        run("b", memory=memory(None, "no VmHWM")),
    ]
    found = collect([candidate("original", 3000), candidate("a", 1500), candidate("b")], runs)
    assert found[1].gain("size") == Estimate(value=2.0, low=2.0, high=2.0, confidence=1.0, sample_count=1)
    value = found[1].value("memory")
    assert (value.low, value.high, value.confidence) == pytest.approx((900, 1100, None))
    gain = found[1].gain("memory")
    assert (gain.low, gain.high) == pytest.approx((1800 / 1100, 2200 / 900))
    assert found[2].value("memory").reason == "no VmHWM"


def test_quality_comes_from_the_host_and_the_original_is_not_worse_than_itself(
    candidate: Make, run: MakeRun
) -> None:
    candidates = [
        candidate("original", drop=(0, -0.01, 0.01)),
        candidate("a", drop=(0.02, 0.01, 0.03)),
        candidate("b"),
    ]
    found = collect(candidates, [])
    assert (found[0].value("quality_drop").low, found[0].value("quality_drop").high) == (0.0, 0.0)
    assert found[1].value("quality_drop").high == 0.03
    assert "no labels" in found[2].value("quality_drop").reason
    assert found[1].gain("quality").value is None


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (CandidateState.SKIPPED, "skipped: why"),
        (CandidateState.FAILED, "could not be built: why"),
        (CandidateState.HOPELESS, "dropped on the host: why"),
    ],
)
def test_what_was_not_built_is_out_with_its_reason(candidate: Make, state: CandidateState, says: str) -> None:
    found = collect(
        [candidate("original"), candidate("a", state=state, reason="why", artifact_digest="")], []
    )
    assert found[1].exclusion == says


def test_figures_of_a_failed_run_are_left_out(candidate: Make, run: MakeRun) -> None:
    failed = run(
        "a",
        [0.5] * 3,
        outcome=Outcome.DEVICE_ERROR,
        failure_kind=FailureKind.OUT_OF_MEMORY,
        failure_reason="killed at 300 MB",
    )
    found = collect([candidate("original"), candidate("a")], [run("original", [1] * 3), failed])[1]
    assert found.exclusion == "failed on the device (out_of_memory): killed at 300 MB"
    assert found.value("latency_p50").value is None
    assert found.outcome is Outcome.DEVICE_ERROR


def test_the_newest_run_that_says_something_counts(candidate: Make, run: MakeRun) -> None:
    cancelled = {"outcome": Outcome.CANCELLED, "failure_kind": FailureKind.CANCELLED}
    runs = [run("a", [1.0] * 3), run("a", [2.0] * 3, started=2), run("a", [9.0] * 3, started=3, **cancelled)]
    assert collect([candidate("a")], runs)[0].value("latency_p50").value == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.CANCELLED, FailureKind.CANCELLED),
        (Outcome.DEVICE_ERROR, FailureKind.INTERRUPTED),
        (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_DISK),
        (Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED),
    ],
)
def test_an_end_that_is_not_the_candidates_excludes_nothing(
    candidate: Make, run: MakeRun, outcome: Outcome, kind: FailureKind
) -> None:
    end = {"outcome": outcome, "failure_kind": kind, "failure_reason": "the agent restarted"}
    runs = [run(label, parity=None, **end) for label in ("original", "a")]
    found = collect([candidate("original"), candidate("a", size=500)], runs)
    assert [e.exclusion for e in found] == ["", ""]
    result = decide("pi", "dev", found, (), parse_preference("size"))
    assert result.decision is Decision.UNDECIDED
    assert "the agent restarted" in result.reasons[0]


def test_one_artifact_in_two_trials_is_compared_with_itself(candidate: Make, run: MakeRun) -> None:
    first, second = candidate("a"), candidate("b", artifact_digest=candidate("a").artifact_digest)
    again = run("a", [1.1, 1.0, 1.2])
    runs = [run("a", [1.0] * 3), replace(again, run_id="2", trial=replace(again.trial, label="b"))]
    gain = collect([replace(first, recipe=ORIGINAL), second], runs)[1].gain("latency_p50")
    assert gain.value == pytest.approx((1.1 * 1.2) ** (-1 / 3))
    assert gain.low is not None
    assert gain.low < 0.9


def test_disputed_clocks_leave_no_latency(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [1] * 3), run("a", [0.5] * 3, disputed=True)]
    found = collect([candidate("original"), candidate("a")], runs)[1]
    assert found.timing_disputed
    assert "disagreed" in found.value("latency_p50").reason
    assert "disagreed" in found.gain("latency_p50").reason


def test_processes_that_differ_widen_the_interval(candidate: Make, run: MakeRun) -> None:
    alike, differing = (
        collect([candidate("a")], [run("a", medians)])[0].value("latency_p90")
        for medians in ([1.0] * 5, [1.0, 0.9, 1.0, 1.0, 1.1])
    )
    assert alike.high == pytest.approx(1.003)
    assert differing.value is not None
    assert differing.low == pytest.approx(differing.value * 0.9, rel=0.02)
    assert differing.high == pytest.approx(1.1 * 1.1, rel=0.02)


def test_samples_that_did_not_settle_are_said(candidate: Make, run: MakeRun) -> None:
    states = (SteadyState.REACHED, SteadyState.NOT_REACHED)
    runs = [run("a", [1.0] * 5, steady_state=state) for state in states]
    assert [collect([candidate("a")], [r])[0].unsettled for r in runs] == [False, True]


def test_simulated_figures_carry_their_basis(candidate: Make, run: MakeRun) -> None:
    found = collect([candidate("a")], [run("a", [1] * 3, simulated=True)])[0]
    assert (found.source, found.basis, found.parity) == (Source.SIMULATED, "datasheet", Verdict.PASSED)


def test_a_candidate_that_never_ran_says_so(candidate: Make) -> None:
    found = collect([candidate("original"), candidate("a")], [])[1]
    assert (found.outcome, found.source, found.run_id) == (None, None, "")
    assert found.value("latency_p50").value is None


def assessed(label: str, steadiness: Steadiness, p50: Estimate | None = None) -> dict[str, LatencyAssessment]:
    absent = Estimate.absent("there is no steady state: why")
    found = LatencyAssessment(
        run_id=f"j/{label}/1.0",
        steadiness=steadiness,
        reason="why",
        p50=p50 or absent,
        p90=absent,
        p95=absent,
        p99=absent,
    )
    return {found.run_id: found}


def test_latency_comes_from_the_assessment_of_the_samples(candidate: Make, run: MakeRun) -> None:
    ours = Estimate(value=0.5, low=0.4, high=0.6, confidence=0.95, sample_count=200)
    runs = [run("original", [1.0] * 5), run("a", [0.5] * 5, steady_state=SteadyState.NOT_REACHED)]
    found = collect([candidate("original"), candidate("a")], runs, assessed("a", Steadiness.FLAT, ours))[1]
    assert found.value("latency_p50") == ours
    assert found.latency is not None
    # The device looked for a trend only; who saw all samples decides.
    assert not found.unsettled


def test_without_steady_state_no_figure_reaches_a_decision(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [1.0] * 5), run("a", [0.5] * 5)]
    candidates = [candidate("original"), candidate("a")]
    found = collect(candidates, runs, assessed("a", Steadiness.NO_STEADY_STATE))
    assert found[1].unsettled
    assert found[1].value("latency_p50").reason == "there is no steady state: why"
    assert "no steady state" in found[1].gain("latency_p50").reason
    answer = decide("pi", "d", found, (), parse_preference("latency_p50"))
    assert answer.decision is not Decision.THIS_ONE
    # The same figures settled are the one.
    settled = collect(candidates, runs)
    assert decide("pi", "d", settled, (), parse_preference("latency_p50")).decision is Decision.THIS_ONE


def test_samples_that_are_not_kept_leave_the_devices_own_figures(candidate: Make, run: MakeRun) -> None:
    runs = [run("original", [1.0] * 5), run("a", [0.5] * 5)]
    candidates = [candidate("original"), candidate("a")]
    without = collect(candidates, runs, assessed("a", Steadiness.NOT_ASSESSED))
    assert without[1].values == collect(candidates, runs)[1].values
