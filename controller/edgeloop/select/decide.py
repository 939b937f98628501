"""One strategy for one device, by rule.

- A candidate is **feasible** when the unfavourable end of every constrained quantity's interval satisfies
  its bound, it ran on the device, and its parity there did not fail. It is **infeasible** when the
  favourable end violates a bound, or parity failed. In between it is **undecided**: more data would tell.
- A run with a disqualifying anomaly or disputed timing satisfies and violates no bound on the device: its candidate
  is undecided until it is measured again.
- THIS_ONE: a feasible candidate whose score (the gain in the preferred quantity, or the weighted mean of
  gains) has a lower bound above 1, at 95 % for all candidates together: of many that are all equal to the
  original one *choice* in twenty is wrong, not one *candidate* in twenty (Bonferroni: each interval is
  stretched to 1 - 0.05 / m for m candidates that might be chosen; figures are shown at 95 %). Of several
  the one with the highest lower bound; of equal ones the one that loses less quality.
- UNDECIDED: no such candidate, but one that more data could turn into it; or the original itself is not
  proven feasible while something may be.
- KEEP_ORIGINAL: the original is feasible, and no candidate is or could well be better.
- NONE_FEASIBLE: everything, the original included, violates a bound for certain or failed.

A candidate could well be better when its score's point estimate is above 1 and its interval reaches 1.01;
below one percent nobody would ship a change. On figures that are predicted the same rules apply and the
strategy says so in its source, basis and reasons; with ``allow_simulated=False`` such figures decide
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import student_t_quantile
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Source, Verdict

from edgeloop.domain.constraint import QUANTITIES, Constraint, Objective
from edgeloop.domain.pareto import Interval, pareto_front
from edgeloop.domain.strategy import CheckResult, Decision, Evidence, Finding, Strategy
from edgeloop.select.policies import POLICIES
from edgeloop.select.words import say_estimate, say_gain, say_value

__all__ = ["check_constraint", "decide"]

_WORTH_A_CHANGE = 1.01
_DEGREES_MAX = 1000
"""Student's t is the normal distribution from there on."""
_FRONT = ("latency_p50", "size", "quality_drop")
_TIMED = (
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "first_inference",
    "load_time",
    "throughput",
)


def check_constraint(constraint: Constraint, evidence: Evidence) -> CheckResult:
    """Hold one constraint against one candidate's value on its device.

    PASSED when both ends of the interval satisfy the bound, FAILED when neither does, UNDECIDED when the
    bound lies within, when the value has no interval, or when there is no value.
    """
    name, estimate = constraint.quantity, evidence.value(constraint.quantity)
    percent = "%" in constraint.text
    if name in _TIMED and evidence.timing_disputed:
        reason = f"{name}: the clocks of runner and agent disagreed, so it does not count"
        return CheckResult(constraint=constraint.text, verdict=Verdict.UNDECIDED, reason=reason)
    if evidence.disqualification and QUANTITIES[name].of_device:
        reason = f"{name}: no gate accepts this run, {evidence.disqualification}"
        return CheckResult(constraint=constraint.text, verdict=Verdict.UNDECIDED, reason=reason)
    if estimate.value is None:
        reason = f"{name} is unknown: {estimate.reason}"
        return CheckResult(constraint=constraint.text, verdict=Verdict.UNDECIDED, reason=reason)
    verdict = _verdict(constraint, estimate)
    bound = say_value(name, constraint.bound, percent=percent)
    said = f"{name} is {say_estimate(name, estimate, percent=percent)}"
    if evidence.unsettled and name in _TIMED:
        said += ", of samples that had not settled"
    tail = {
        Verdict.PASSED: f"within {constraint.operator} {bound}",
        Verdict.FAILED: f"not {constraint.operator} {bound}",
        Verdict.UNDECIDED: f"{_why_undecided(estimate)} to hold it against {constraint.operator} {bound}",
    }[verdict]
    return CheckResult(
        constraint=constraint.text,
        verdict=verdict,
        reason=f"{said}: {tail}",
        violation=_violation(constraint, estimate.value),
    )


def _verdict(constraint: Constraint, estimate: Estimate) -> Verdict:
    if estimate.low is None or estimate.high is None:
        return Verdict.UNDECIDED
    ends = {constraint.holds(estimate.low), constraint.holds(estimate.high)}
    if ends == {True}:
        return Verdict.PASSED
    return Verdict.FAILED if ends == {False} else Verdict.UNDECIDED


def _why_undecided(estimate: Estimate) -> str:
    if estimate.low is None:
        return "a single value without an interval is not enough"
    if estimate.confidence is None:
        return "a single reading is too close"
    return f"n too small ({estimate.sample_count})"


def _violation(constraint: Constraint, value: float) -> float:
    distance = value - constraint.bound if constraint.operator[0] == "<" else constraint.bound - value
    return distance / abs(constraint.bound) if constraint.bound else distance


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One candidate with its checks and score."""

    evidence: Evidence
    checks: tuple[CheckResult, ...]
    #: Gain with its 95 % interval.
    score: Estimate
    #: Lower bound of the gain that holds for all candidates together; absent without an interval.
    bound: float | None
    #: "feasible", "infeasible", "undecided" or "excluded".
    standing: str
    reason: str

    @property
    def label(self) -> str:
        return self.evidence.candidate

    @property
    def proven(self) -> bool:
        """Whether it may be recommended."""
        low = self.bound
        return self.standing == "feasible" and not self.evidence.original and low is not None and low > 1.0

    @property
    def promising(self) -> bool:
        """Whether more data could make it the one."""
        if self.evidence.original or self.standing not in ("feasible", "undecided"):
            return False
        if self.score.value is None or self.score.high is None:
            return self.score.value is None or self.score.value > 1.0
        return self.score.value > 1.0 and self.score.high > _WORTH_A_CHANGE

    @property
    def rank(self) -> tuple[float, float, float]:
        """Sort key, higher is better: what is proven, the point estimate, the smaller drop in quality."""
        low = self.bound if self.bound is not None else 0.0
        drop = self.evidence.value("quality_drop").value
        return (low, self.score.value or 0.0, -(float("inf") if drop is None else drop))

    @property
    def distance(self) -> float:
        """How far from feasible: the largest violation of a bound; infinite when that is unknown."""
        if self.standing == "excluded":
            return float("inf")
        known = [c.violation for c in self.checks if c.verdict is Verdict.FAILED and c.violation is not None]
        return max(known, default=float("inf"))


def decide(
    device: str,
    device_id: str,
    evidence: Sequence[Evidence],
    constraints: Sequence[Constraint],
    objectives: Sequence[Objective],
    *,
    allow_simulated: bool = True,
    policy: str = "",
) -> Strategy:
    """Return the strategy for one device; the rules stand in the module's docstring.

    Args:
        device: the device's name.
        device_id: its identifier.
        evidence: one per candidate, the original among them.
        constraints: bounds that must hold.
        objectives: what is preferred, one or several with weights.
        allow_simulated: whether figures that are predicted, or measured under emulated resources, may decide.
        policy: registered policy; empty takes "prefer" for one objective and "weighted" for several.

    Raises:
        InvalidInputError: no evidence or no objective, or objectives that the policy does not take.
        NotFoundError: no such policy.
    """
    if not evidence or not objectives:
        raise InvalidInputError(
            f"{device}: a decision needs at least one candidate and one preferred quantity."
        )
    scorer = POLICIES.load(policy or ("prefer" if len(objectives) == 1 else "weighted"))()
    judged = _judge_together(
        [_judge(e, constraints, scorer.score(e, objectives), allow_simulated) for e in evidence]
    )
    front = _front(judged, objectives)
    verdict = _conclude(judged, " and ".join(o.quantity for o in objectives))
    simulated = next((e for e in evidence if e.source is Source.SIMULATED), None)
    source = Source.SIMULATED if simulated else next((e.source for e in evidence if e.source), None)
    reasons = list(verdict.reasons)
    if simulated:
        reasons.append(
            f"The figures of {device} are predicted (basis: {simulated.basis or 'not stated'}), not "
            "measured; "
            "they never satisfy a gate for a real device."
        )
    emulated = next((e for e in evidence if e.source is Source.EMULATED), None)
    if emulated:
        reasons.append(
            f"The figures of {device} were measured under emulated resources: {emulated.basis}; they never satisfy a "
            "gate for a real device."
        )
    return Strategy(
        device=device,
        device_id=device_id,
        decision=verdict.decision,
        candidate=verdict.chosen.label if verdict.chosen else "",
        artifact_digest=verdict.chosen.evidence.artifact_digest if verdict.chosen else "",
        runner_up=verdict.runner_up.label if verdict.runner_up else "",
        nearest=verdict.nearest.label if verdict.nearest else "",
        reasons=tuple(reasons),
        findings=tuple(_finding(j, verdict, j.label in front) for j in judged),
        source=source,
        basis=next((e.basis for e in (simulated, emulated) if e), ""),
    )


def _judge(
    evidence: Evidence, constraints: Sequence[Constraint], score: Estimate, allow_simulated: bool
) -> _Judged:
    checks = () if evidence.exclusion else tuple(check_constraint(c, evidence) for c in constraints)
    standing, reason = _standing(evidence, checks, allow_simulated)
    return _Judged(
        evidence=evidence, checks=checks, score=score, bound=score.low, standing=standing, reason=reason
    )


def _judge_together(judged: Sequence[_Judged]) -> list[_Judged]:
    """Lower every bound so that it holds for all candidates that might be chosen, together."""
    rivals = sum(_rival(j) for j in judged)
    return [replace(j, bound=_bound_of(j.score, rivals)) if _rival(j) else j for j in judged]


def _rival(judged: _Judged) -> bool:
    """Whether it might be chosen on a gain that is only known with a confidence."""
    uncertain = judged.score.confidence is not None and judged.score.confidence < 1.0
    return judged.standing in ("feasible", "undecided") and not judged.evidence.original and uncertain


def _bound_of(score: Estimate, rivals: int) -> float | None:
    """Return the lower bound of a gain at 1 - 0.05 / rivals; a gain that is exact, or a policy, stays as it is.

    The interval is stretched on the logarithm by the ratio of Student's t at the two confidences, with as many
    degrees of freedom as the gain has samples (rounds, for a paired one) less one.
    """
    low, value, confidence = score.low, score.value, score.confidence
    if low is None or value is None or confidence is None or low <= 0.0 or rivals < 2 or confidence >= 1.0:
        return low
    degrees = max(1, min(score.sample_count - 1, _DEGREES_MAX))
    wanted = 1.0 - (1.0 - confidence) / rivals
    factor = student_t_quantile(wanted, degrees) / student_t_quantile(confidence, degrees)
    return float(value * (low / value) ** factor)


def _standing(evidence: Evidence, checks: Sequence[CheckResult], allow_simulated: bool) -> tuple[str, str]:
    if evidence.exclusion:
        return "excluded", evidence.exclusion
    if evidence.parity is Verdict.FAILED:
        return "infeasible", f"its outputs on this device do not agree: {evidence.parity_reason}"
    failed = [c.reason for c in checks if c.verdict is Verdict.FAILED]
    if failed:
        return "infeasible", "; ".join(failed)
    missing = [c.reason for c in checks if c.verdict is Verdict.UNDECIDED]
    if evidence.outcome is not Outcome.SUCCESS:
        missing.insert(0, evidence.parity_reason or "it never ran on this device")
    elif evidence.parity is None and not evidence.original:
        missing.insert(0, "its parity on this device was not checked")
    if evidence.source is Source.THIRD_PARTY:
        missing.insert(0, "its figures are third-party, nobody measured them here")
    if evidence.disqualification:
        missing.insert(0, f"no gate accepts its run, {evidence.disqualification}")
    if evidence.source is Source.SIMULATED and not allow_simulated:
        missing.insert(0, "its figures are predicted, not measured")
    if evidence.source is Source.EMULATED and not allow_simulated:
        missing.insert(0, f"its figures were measured under emulated resources ({evidence.basis})")
    return ("undecided", "; ".join(missing)) if missing else ("feasible", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """The answer before it is written down."""

    decision: Decision
    reasons: tuple[str, ...]
    chosen: _Judged | None = None
    runner_up: _Judged | None = None
    nearest: _Judged | None = None


def _conclude(judged: Sequence[_Judged], what: str) -> _Verdict:
    proven = sorted((j for j in judged if j.proven), key=lambda j: j.rank, reverse=True)
    original = next((j for j in judged if j.evidence.original), None)
    if proven:
        return _this_one(judged, proven, original, what)
    open_cases = sorted((j for j in judged if j.promising), key=lambda j: j.rank, reverse=True)
    if original is not None and original.standing == "feasible":
        return _undecided(open_cases, original, what) if open_cases else _keep(judged, original, what)
    possible = [j for j in judged if j.standing in ("feasible", "undecided")]
    if possible:
        return _undecided(sorted(possible, key=lambda j: j.rank, reverse=True), original, what)
    return _none_feasible(judged)


def _this_one(
    judged: Sequence[_Judged], proven: Sequence[_Judged], original: _Judged | None, what: str
) -> _Verdict:
    best = proven[0]
    second = proven[1] if len(proven) > 1 else None
    if second is None and original is not None and original.standing == "feasible":
        second = original
    certainty = "that it is better is proven"
    quantity = QUANTITIES.get(what)
    if best.evidence.source is Source.SIMULATED and (quantity is None or quantity.of_device):
        certainty = "as predicted; nothing is proven before it is measured"
    elif best.evidence.source is Source.EMULATED and (quantity is None or quantity.of_device):
        certainty = "under emulated resources; nothing is proven for a real device"
    reasons = [f"{best.label} is {say_gain(best.score)} in {what}; {certainty}."]
    rivals = sum(_rival(j) for j in judged)
    if rivals > 1 and _rival(best) and best.bound is not None:
        reasons.append(
            f"{rivals} candidates were held against the original: its lower bound for all of them together "
            f"(Bonferroni) is {best.bound:.3f}."
        )
    reasons += [f"{check.constraint}: {check.reason}." for check in best.checks]
    if best.evidence.parity is Verdict.UNDECIDED:
        reasons.append(f"Its parity is undecided: {best.evidence.parity_reason}.")
    if original is not None and original.standing != "feasible":
        reasons.append(f"The original is {original.standing}: {original.reason}.")
    if second is not None and not second.evidence.original:
        reasons.append(f"Runner-up is {second.label}, {say_gain(second.score)}.")
        if (second.score.high or 0.0) >= (best.score.low or 0.0):
            reasons.append(f"That {best.label} beats {second.label} is not proven; both beat the original.")
    return _Verdict(decision=Decision.THIS_ONE, reasons=tuple(reasons), chosen=best, runner_up=second)


def _keep(judged: Sequence[_Judged], original: _Judged, what: str) -> _Verdict:
    others = [j for j in judged if not j.evidence.original]
    feasible = sorted((j for j in others if j.standing == "feasible"), key=lambda j: j.rank, reverse=True)
    if not others:
        reason = "There is no other candidate."
    elif feasible:
        best = feasible[0]
        reason = f"No candidate is better in {what}: the best, {best.label}, is {say_gain(best.score)}."
    else:
        reason = f"None of the {len(others)} candidates satisfies every bound and is better in {what}."
    return _Verdict(
        decision=Decision.KEEP_ORIGINAL,
        reasons=(reason, *(f"{check.constraint}: {check.reason}." for check in original.checks)),
        chosen=original,
        runner_up=feasible[0] if feasible else None,
    )


def _undecided(cases: Sequence[_Judged], original: _Judged | None, what: str) -> _Verdict:
    best = cases[0]
    reasons = [f"{best.label} may be the one, but that is not proven: {_open_question(best, what)}."]
    if original is not None and not best.evidence.original and original.standing != "feasible":
        reasons.append(f"The original is {original.standing}: {original.reason}.")
    if best.score.value is not None and not best.evidence.original:
        reasons.append(f"{best.label} is {say_gain(best.score)} in {what}.")
    return _Verdict(decision=Decision.UNDECIDED, reasons=tuple(reasons), nearest=best)


def _open_question(case: _Judged, what: str) -> str:
    if case.standing == "undecided":
        return case.reason
    if case.score.value is None:
        return f"its gain in {what} is unknown, {case.score.reason}"
    if case.score.low is None:
        return f"its gain in {what} is a single value without an interval"
    if case.score.value <= 1.0:
        return (
            f"it satisfies every bound but is no better than the original in {what}, which is what "
            "was preferred"
        )
    if case.bound is not None and case.score.low > 1.0:
        return (
            f"the 95 % lower bound of its gain in {what} is {case.score.low:.3f} by itself, but "
            f"{case.bound:.3f} for all candidates together, not above 1 (n too small for so many)"
        )
    return f"the 95 % lower bound of its gain in {what} is {case.score.low:.3f}, not above 1 (n too small)"


def _none_feasible(judged: Sequence[_Judged]) -> _Verdict:
    nearest = min(judged, key=lambda j: j.distance)
    if nearest.distance == float("inf"):
        first = "; ".join(f"{j.label}: {j.reason}" for j in judged)
        return _Verdict(decision=Decision.NONE_FEASIBLE, reasons=(f"Nothing can be shipped. {first}.",))
    worst = max((c for c in nearest.checks if c.verdict is Verdict.FAILED), key=lambda c: c.violation or 0.0)
    reason = (
        f"Nothing satisfies every bound. Nearest is {nearest.label}, {100 * nearest.distance:.1f} % beyond "
        f"{worst.constraint}: {worst.reason}."
    )
    return _Verdict(decision=Decision.NONE_FEASIBLE, reasons=(reason,), nearest=nearest)


def _finding(judged: _Judged, verdict: _Verdict, on_front: bool) -> Finding:
    standing = judged.standing
    if judged is verdict.chosen:
        standing = "chosen"
    elif judged is verdict.runner_up:
        standing = "runner-up"
    reason = judged.reason
    if not reason:
        reason = "the unmodified model" if judged.evidence.original else say_gain(judged.score)
    return Finding(
        candidate=judged.label, standing=standing, checks=judged.checks, reason=reason, on_front=on_front
    )


def _front(judged: Sequence[_Judged], objectives: Sequence[Objective]) -> frozenset[str]:
    """Return the labels on the front of the feasible ones, over what all of them have figures for."""
    feasible = [j for j in judged if j.standing == "feasible"]
    wanted = dict.fromkeys((*_FRONT, *(o.quantity for o in objectives)))
    known = [q for q in wanted if all(j.evidence.value(q).value is not None for j in feasible)]
    points = [[_interval(q, j.evidence.value(q)) for q in known] for j in feasible]
    return frozenset(feasible[i].label for i in pareto_front(points))


def _interval(quantity: str, estimate: Estimate) -> Interval:
    value = estimate.value if estimate.value is not None else 0.0
    low = value if estimate.low is None else estimate.low
    high = value if estimate.high is None else estimate.high
    return (low, high) if QUANTITIES[quantity].lower_is_better else (-high, -low)
