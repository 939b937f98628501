"""The table of verdicts, enumerated, and the promise never to recommend a slower one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from edgeloop.domain.candidate import Candidate
from edgeloop.domain.constraint import Objective
from edgeloop.domain.strategy import Decision, Evidence, Strategy
from edgeloop.select.decide import check_constraint, decide
from edgeloop.select.evidence import collect
from edgeloop.select.expressions import parse_constraint, parse_constraints, parse_preference
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import student_t_interval
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Run, Source, Verdict

Make = Callable[..., Evidence]

#: Intervals against "latency < 10ms".
WITHIN, ACROSS, BEYOND = (0.008, 0.007, 0.009), (0.0098, 0.009, 0.011), (0.012, 0.011, 0.013)
#: Intervals of the gain.
BETTER, MAYBE, EQUAL, WORSE = (1.5, 1.4, 1.6), (1.1, 0.9, 1.3), (1.0, 0.99, 1.01), (0.8, 0.7, 0.9)
SELF = (1.0, 1.0, 1.0)


def strategy(
    evidence: list[Evidence], *require: str, prefer: str = "latency_p50", **rest: object
) -> Strategy:
    return decide("pi", "dev", evidence, parse_constraints(require), parse_preference(prefer), **rest)  # type: ignore[arg-type]


def standing(result: Strategy, label: str) -> str:
    return next(f.standing for f in result.findings if f.candidate == label)


def expected(original: tuple[Any, ...], candidate: tuple[Any, ...], gain: tuple[Any, ...]) -> Decision:
    """The rule of the module's docstring, written down once more as a table of its own."""
    if candidate is WITHIN and gain is BETTER:
        return Decision.THIS_ONE
    if original is WITHIN:
        open_case = candidate is not BEYOND and gain in (BETTER, MAYBE)
        return Decision.UNDECIDED if open_case else Decision.KEEP_ORIGINAL
    if original is BEYOND and candidate is BEYOND:
        return Decision.NONE_FEASIBLE
    return Decision.UNDECIDED


@pytest.mark.parametrize(
    ("original", "candidate", "gain"),
    list(product((WITHIN, ACROSS, BEYOND), (WITHIN, ACROSS, BEYOND), (BETTER, MAYBE, EQUAL, WORSE))),
)
def test_the_table_of_verdicts(
    evidence: Make, original: tuple[Any, ...], candidate: tuple[Any, ...], gain: tuple[Any, ...]
) -> None:
    cases = [
        evidence("original", SELF, values={"latency_p50": original}),
        evidence("a", gain, values={"latency_p50": candidate}),
    ]
    result = strategy(cases, "latency < 10ms")
    assert result.decision is expected(original, candidate, gain)
    assert result.candidate == {Decision.THIS_ONE: "a", Decision.KEEP_ORIGINAL: "original"}.get(
        result.decision, ""
    )
    assert result.reasons
    assert {f.candidate for f in result.findings} == {"original", "a"}
    assert all(f.reason for f in result.findings)


@pytest.mark.parametrize(
    ("estimate", "verdict", "says"),
    [
        (WITHIN, Verdict.PASSED, r"8\.00 ms \(95 % interval 7\.00 ms to 9\.00 ms\): within < 10\.0 ms"),
        (ACROSS, Verdict.UNDECIDED, r"n too small \(100\)"),
        (BEYOND, Verdict.FAILED, r"not < 10\.0 ms"),
        (Estimate(value=0.001), Verdict.UNDECIDED, "without an interval is not enough"),
        (Estimate(value=0.0095, low=0.009, high=0.0105), Verdict.UNDECIDED, "a single reading is too close"),
        (Estimate.absent("p50 needs more"), Verdict.UNDECIDED, "latency_p50 is unknown: p50 needs more"),
    ],
)
def test_checks(evidence: Make, estimate: object, verdict: Verdict, says: str) -> None:
    found = check_constraint(
        parse_constraint("latency < 10ms"), evidence("a", values={"latency_p50": estimate})
    )
    assert found.verdict is verdict
    assert re.search(says, found.reason)


def test_the_worse_end_of_a_lower_bound_is_the_lower_one(evidence: Make) -> None:
    held = evidence("a", values={"quality": (0.96, 0.94, 0.98)})
    assert check_constraint(parse_constraint("accuracy > 95%"), held).verdict is Verdict.UNDECIDED
    assert check_constraint(parse_constraint("accuracy > 93%"), held).verdict is Verdict.PASSED
    assert check_constraint(parse_constraint("accuracy > 99%"), held).verdict is Verdict.FAILED


def test_disputed_clocks_pass_no_latency_gate(evidence: Make) -> None:
    disputed = evidence("a", BETTER, values={"latency_p50": WITHIN, "size": (1, 1, 1)}, timing_disputed=True)
    assert check_constraint(parse_constraint("latency < 10ms"), disputed).verdict is Verdict.UNDECIDED
    assert check_constraint(parse_constraint("size < 2B"), disputed).verdict is Verdict.PASSED


def test_the_violation_is_relative_to_the_bound(evidence: Make) -> None:
    check = check_constraint(
        parse_constraint("latency < 10ms"), evidence("a", values={"latency_p50": BEYOND})
    )
    assert check.violation == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("settings", "found", "decision"),
    [
        ({"parity": Verdict.FAILED, "parity_reason": "off"}, "infeasible", Decision.KEEP_ORIGINAL),
        ({"parity": None}, "undecided", Decision.UNDECIDED),
        ({"parity": Verdict.UNDECIDED, "parity_reason": "n"}, "chosen", Decision.THIS_ONE),
        ({"exclusion": "failed on the device"}, "excluded", Decision.KEEP_ORIGINAL),
        ({"outcome": None, "source": None, "parity": None}, "undecided", Decision.UNDECIDED),
    ],
)
def test_what_else_stands_in_the_way(
    evidence: Make, settings: dict[str, Any], found: str, decision: Decision
) -> None:
    result = strategy([evidence("original", SELF), evidence("a", BETTER, **settings)])
    assert standing(result, "a") == found
    assert result.decision is decision


def test_the_best_proven_one_wins_and_the_next_is_the_runner_up(evidence: Make) -> None:
    cases = [
        evidence("original", SELF),
        evidence("wide", (2.0, 1.3, 3.0)),
        evidence("sure", (1.6, 1.5, 1.7)),
        evidence("hopeful", (3.0, 0.9, 9.0)),
    ]
    result = strategy(cases)
    assert (result.candidate, result.runner_up) == ("sure", "wide")
    assert (standing(result, "sure"), standing(result, "wide"), standing(result, "hopeful")) == (
        "chosen",
        "runner-up",
        "feasible",
    )
    assert any("not proven" in reason for reason in result.reasons)


def test_the_original_is_the_runner_up_of_the_only_better_one(evidence: Make) -> None:
    assert strategy([evidence("original", SELF), evidence("a", BETTER)]).runner_up == "original"


def test_of_equal_ones_the_one_that_loses_less_quality(evidence: Make) -> None:
    drops = {"a": 0.002, "b": 0.0, "c": None}
    cases = [evidence("original", SELF)]
    for label, drop in drops.items():
        made = evidence(label, (2.0, 2.0, 2.0))
        lost = Estimate.absent("no labels") if drop is None else Estimate(value=drop)
        cases.append(replace(made, values=(*made.values, ("quality_drop", lost))))
    result = strategy(cases)
    assert (result.candidate, result.runner_up) == ("b", "a")
    assert any("That b beats a is not proven" in reason for reason in result.reasons)


def test_a_gain_below_one_percent_is_not_worth_more_data(evidence: Make) -> None:
    result = strategy([evidence("original", SELF), evidence("a", (1.004, 0.999, 1.009))])
    assert result.decision is Decision.KEEP_ORIGINAL


def test_an_unknown_gain_leaves_it_open(evidence: Make) -> None:
    result = strategy(
        [evidence("original", SELF), evidence("a", Estimate.absent("no power sensor"), "energy")],
        prefer="energy",
    )
    assert result.decision is Decision.UNDECIDED
    assert "no power sensor" in result.reasons[0]


def test_a_point_without_an_interval_proves_nothing(evidence: Make) -> None:
    result = strategy([evidence("original", SELF), evidence("a", Estimate(value=3.0))])
    assert result.decision is Decision.UNDECIDED


def test_the_nearest_is_named_with_its_distance(evidence: Make) -> None:
    cases = [
        evidence("original", SELF, values={"latency_p50": (0.030, 0.029, 0.031)}),
        evidence("a", BETTER, values={"latency_p50": BEYOND}),
        evidence("b", exclusion="could not be built: no"),
    ]
    result = strategy(cases, "latency < 10ms")
    assert result.decision is Decision.NONE_FEASIBLE
    assert (result.nearest, result.candidate) == ("a", "")
    assert "20.0 % beyond latency < 10ms" in result.reasons[0]


def test_when_nothing_runs_at_all(evidence: Make) -> None:
    result = strategy(
        [evidence("original", exclusion="failed: no memory"), evidence("a", exclusion="failed too")]
    )
    assert result.decision is Decision.NONE_FEASIBLE
    assert result.nearest == ""
    assert "no memory" in result.reasons[0]


def test_feasible_alone_is_not_better(evidence: Make) -> None:
    """The only one within its bounds, but larger, where size was preferred: said, not shipped."""
    cases = [
        evidence("original", (1.0, 1.0, 1.0), "size", values={"latency_p50": BEYOND}),
        evidence("a", (0.9, 0.9, 0.9), "size", values={"latency_p50": WITHIN}),
    ]
    result = strategy(cases, "latency < 10ms", prefer="size")
    assert (result.decision, result.nearest) == (Decision.UNDECIDED, "a")
    assert "no better than the original in size" in result.reasons[0]


def test_weights_combine_gains(evidence: Make) -> None:
    def both(label: str, latency: tuple[Any, ...], size: tuple[Any, ...]) -> Evidence:
        made = evidence(label, latency)
        gains = (*made.gains, *evidence(label, size, "size").gains)
        return Evidence(**{f: getattr(made, f) for f in made.__slots__} | {"gains": gains})

    cases = [both("original", SELF, SELF), both("a", (0.5, 0.5, 0.5), (4.0, 4.0, 4.0))]
    assert strategy(cases, prefer="latency_p50:1,size:1").candidate == "a"
    assert strategy(cases, prefer="latency_p50:3,size:1").decision is Decision.KEEP_ORIGINAL
    with pytest.raises(InvalidInputError, match="takes one quantity"):
        strategy(cases, prefer="latency_p50,size", policy="prefer")


def test_predicted_figures_decide_only_where_they_may(evidence: Make) -> None:
    cases = [
        evidence(label, gain, source=Source.SIMULATED, basis="datasheet")
        for label, gain in (("original", SELF), ("a", BETTER))
    ]
    allowed = strategy(cases)
    assert (allowed.decision, allowed.source, allowed.basis) == (
        Decision.THIS_ONE,
        Source.SIMULATED,
        "datasheet",
    )
    assert any("predicted (basis: datasheet), not measured" in reason for reason in allowed.reasons)
    refused = strategy(cases, allow_simulated=False)
    assert refused.decision is Decision.UNDECIDED
    assert "predicted, not measured" in refused.reasons[0]


def test_the_front_holds_what_nothing_beats_for_certain(evidence: Make) -> None:
    def point(label: str, latency: tuple[Any, ...], size: float) -> Evidence:
        return evidence(label, SELF, values={"latency_p50": latency, "size": (size, size, size)})

    cases = [
        point("original", (0.010, 0.009, 0.011), 4e6),
        point("smaller", (0.010, 0.0095, 0.0105), 1e6),
        point("slower and as large", (0.020, 0.019, 0.021), 4e6),
    ]
    on_front = {f.candidate for f in strategy(cases).findings if f.on_front}
    assert on_front == {"original", "smaller"}


def test_nothing_to_decide_from(evidence: Make) -> None:
    with pytest.raises(InvalidInputError, match="at least one candidate"):
        decide("pi", "dev", [], (), (Objective(quantity="size"),))


def test_equal_speed_is_recommended_no_more_often_than_the_tail_allows(
    candidate: Callable[..., Candidate], run: Callable[..., Run]
) -> None:
    """1,000 draws of five rounds with a true gain of 1: the 2.5 % tail, three standard errors of room."""
    rng = np.random.default_rng(11)
    pair = [candidate("original"), candidate("a")]
    objectives, wrong = (Objective(quantity="latency_p50"),), 0
    for _ in range(1000):
        drift = np.exp(rng.normal(0, 0.3, 5))
        before, after = (0.005 * drift * np.exp(rng.normal(0, 0.02, 5)) for _ in range(2))
        found = collect(pair, [run("original", before.tolist()), run("a", after.tolist())])
        wrong += decide("pi", "dev", found, (), objectives).decision is Decision.THIS_ONE
    assert wrong <= 1000 * 0.025 + 3 * np.sqrt(1000 * 0.025 * 0.975)
    assert wrong > 0


def test_a_slower_one_is_never_recommended(
    candidate: Callable[..., Candidate], run: Callable[..., Run]
) -> None:
    """300 draws at 0.69 of the original's speed, in noise of a tenth: none is recommended, nor left "
    "open for good."""
    rng = np.random.default_rng(12)
    pair = [candidate("original"), candidate("a")]
    for _ in range(300):
        before = 0.005 * np.exp(rng.normal(0, 0.1, 5))
        after = 0.005 / 0.69 * np.exp(rng.normal(0, 0.1, 5))
        found = collect(pair, [run("original", before.tolist()), run("a", after.tolist())])
        result = decide("pi", "dev", found, (), (Objective(quantity="latency_p50"),))
        assert result.decision is Decision.KEEP_ORIGINAL


def test_a_failed_original_is_said(evidence: Make) -> None:
    cases = [
        evidence("original", exclusion="failed on the device (out_of_memory): 300 MB"),
        evidence("a", (4.0, 4.0, 4.0), "size", outcome=Outcome.SUCCESS),
    ]
    result = strategy(cases, prefer="size")
    assert result.decision is Decision.THIS_ONE
    assert any("out_of_memory" in reason for reason in result.reasons)


def test_of_many_equals_none_is_picked_by_chance(evidence: Make) -> None:
    """Twenty candidates as good as the original, five rounds each: one choice in twenty may be wrong, not most."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(60):
        cases = [evidence("original", (1.0, 1.0, 1.0))]
        for index in range(20):
            mean, low, high = (
                math.exp(x) for x in student_t_interval(list(0.01 * rng.standard_normal(5)), 0.95)
            )
            gain = Estimate(value=mean, low=low, high=high, confidence=0.95, sample_count=5)
            cases.append(evidence(f"c{index}", gain))
        alone = [case for case in cases[1:] if (case.gain("latency_p50").low or 0.0) > 1.0]
        wrong += strategy(cases).decision is Decision.THIS_ONE
        assert alone or strategy(cases).decision is not Decision.THIS_ONE
    assert wrong <= 6


def test_one_candidate_alone_needs_no_correction_and_many_are_said(evidence: Make) -> None:
    original = evidence("original", (1.0, 1.0, 1.0))
    close = evidence("close", Estimate(value=1.02, low=1.001, high=1.039, confidence=0.95, sample_count=5))
    other = evidence("other", Estimate(value=1.0, low=0.9, high=1.1, confidence=0.95, sample_count=5))
    assert strategy([original, close]).decision is Decision.THIS_ONE
    result = strategy([original, close, other])
    assert result.decision is Decision.UNDECIDED
    assert "for all candidates together" in " ".join(result.reasons)
    sure = evidence("sure", Estimate(value=1.5, low=1.45, high=1.55, confidence=0.95, sample_count=5))
    assert "2 candidates were held against the original" in " ".join(
        strategy([original, sure, other]).reasons
    )
