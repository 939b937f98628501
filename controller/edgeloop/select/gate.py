"""Answers of a gate: one estimate held against one bound by its interval, or the reason why nobody can say.

- **passed**: the unfavourable end of the interval is within the bound.
- **failed**: the favourable end is beyond it.
- **undecided**: everything else, which a gate counts as a failure with a wording of its own. So are figures
  that no gate accepts: predicted ones under an absolute bound, third-party ones, those of a run whose clocks
  disagree, that did not settle or that carries a disqualifying anomaly, and those of a device that was
  refused as unfit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeloop_protocol.types.conditions import AnomalyKind
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Source, Verdict

from edgeloop.domain.constraint import QUANTITIES, Constraint
from edgeloop.domain.strategy import Evidence
from edgeloop.select.decide import check_constraint

__all__ = ["GateCheck", "hold_bound", "hold_parity", "hold_slowdown", "objection", "samples_that_decide"]

_SAMPLES_MAX = 1_000_000
_ROUNDS_BELOW = 30
"""A paired ratio rests on rounds; there are never more of them than this."""
_OUTSIDE = frozenset({Outcome.CANCELLED, Outcome.HARNESS_ERROR, Outcome.GATE_REFUSED, Outcome.DEVICE_ERROR})
"""Ends that do not tell anything about the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """The answer to one assertion."""

    #: What was asserted, for example "latency_p95 <= 30ms".
    check: str
    verdict: Verdict
    #: One sentence with the figures.
    reason: str
    #: The figure it rests on, in ``unit``.
    estimate: Estimate
    #: SI unit; "ratio" for a slowdown, empty for parity.
    unit: str = ""


def hold_bound(constraint: Constraint, evidence: Evidence, run: Run, *, allow_predicted: bool) -> GateCheck:
    """Hold an absolute bound against what was measured.

    Args:
        constraint: the bound.
        evidence: the figures of the run.
        run: the run itself, for everything that speaks against its figures.
        allow_predicted: whether a predicted figure may decide.
    """
    quantity = QUANTITIES[constraint.quantity]
    answer = check_constraint(constraint, evidence)
    verdict, reason = answer.verdict, answer.reason
    estimate = evidence.value(constraint.quantity)
    against = objection(run) if quantity.of_device else ""
    if against:
        verdict = Verdict.FAILED if _models_fault(run) else Verdict.UNDECIDED
        reason = f"{against}; {reason}" if run.outcome is Outcome.SUCCESS else against
    elif quantity.of_device and run.source is Source.SIMULATED and not allow_predicted:
        verdict = Verdict.UNDECIDED
        reason = (
            f"{reason}, but that is predicted (basis: {evidence.basis or 'not stated'}), not measured: an absolute "
            "budget needs a measurement, or --edgeloop-allow-predicted"
        )
    elif quantity.of_device and run.source is Source.EMULATED and not allow_predicted:
        verdict = Verdict.UNDECIDED
        reason = (
            f"{reason}, but that was measured under emulated resources ({evidence.basis}), not on such a device: an "
            "absolute budget needs a measurement there, or --edgeloop-allow-predicted"
        )
    elif verdict is Verdict.UNDECIDED:
        reason += _what_would_decide(estimate, constraint.bound)
    return GateCheck(
        check=constraint.text, verdict=verdict, reason=reason, estimate=estimate, unit=quantity.unit
    )


def objection(run: Run) -> str:
    """Return why no gate accepts the figures of a run, in one clause; empty when nothing speaks against them."""
    if run.outcome is not Outcome.SUCCESS:
        why = run.failure_reason or run.failure_kind.value.replace("_", " ")
        if run.outcome is Outcome.GATE_REFUSED or run.failure_kind is FailureKind.UNFIT_DEVICE:
            return f"the device was refused as unfit to measure: {why.rstrip('.')}"
        what = (
            "the run says nothing about the model" if run.outcome in _OUTSIDE else "it failed on the device"
        )
        return f"{what} ({run.failure_kind.value.replace('_', ' ')}): {why.rstrip('.')}"
    if run.source is Source.THIRD_PARTY:
        return "the figures are third-party, nobody measured them here"
    serious = [anomaly for anomaly in run.anomalies if anomaly.disqualifying]
    if serious:
        return f"the run was disturbed ({serious[0].kind.value.replace('_', ' ')}): {serious[0].reason.rstrip('.')}"
    if run.timing is not None and run.timing.timing_disputed:
        return "the clocks of runner and agent disagreed"
    return ""


def _models_fault(run: Run) -> bool:
    return run.outcome is not Outcome.SUCCESS and run.outcome not in _OUTSIDE


def hold_parity(evidence: Evidence, run: Run) -> GateCheck:
    """Say whether the device's outputs agree; disturbed timing does not speak against outputs, a fallback does."""
    absent = Estimate.absent("parity has no single figure")
    fallback = [a for a in run.anomalies if a.disqualifying and a.kind is AnomalyKind.PROVIDER_FALLBACK]
    if run.outcome is not Outcome.SUCCESS:
        verdict = Verdict.FAILED if _models_fault(run) else Verdict.UNDECIDED
        return GateCheck(check="parity", verdict=verdict, reason=objection(run), estimate=absent)
    if run.source is Source.THIRD_PARTY:
        return GateCheck(check="parity", verdict=Verdict.UNDECIDED, reason=objection(run), estimate=absent)
    if fallback and evidence.parity is not Verdict.FAILED:
        return GateCheck(
            check="parity", verdict=Verdict.UNDECIDED, reason=fallback[0].reason.rstrip("."), estimate=absent
        )
    verdict = evidence.parity or Verdict.UNDECIDED
    reason = evidence.parity_reason or "parity was not checked"
    return GateCheck(check="parity", verdict=verdict, reason=reason, estimate=absent)


def hold_slowdown(check: str, slowdown: Estimate, allowed: float, how: str) -> GateCheck:
    """Hold a ratio now / baseline against ``1 + allowed``.

    Args:
        check: what was asserted, for people.
        slowdown: how many times slower than the baseline, with its interval; above 1 is slower.
        allowed: the share that is allowed on top.
        how: how the ratio came about, a clause for people.
    """
    bound = 1.0 + allowed
    if slowdown.value is None:
        return GateCheck(
            check=check, verdict=Verdict.UNDECIDED, reason=slowdown.reason, estimate=slowdown, unit="ratio"
        )
    said = f"{_change(slowdown.value)} than the baseline"
    if slowdown.low is None or slowdown.high is None:
        verdict, tail = Verdict.UNDECIDED, "a single value without an interval is not enough"
    else:
        said += f" (times {slowdown.low:.3f} to {slowdown.high:.3f})"
        if slowdown.high <= bound:
            verdict, tail = Verdict.PASSED, f"within {100 * allowed:g} %"
        elif slowdown.low > bound:
            verdict, tail = Verdict.FAILED, f"more than {100 * allowed:g} %"
        else:
            verdict = Verdict.UNDECIDED
            tail = f"the interval reaches across {100 * allowed:g} %" + _what_would_decide(slowdown, bound)
    return GateCheck(
        check=check, verdict=verdict, reason=f"{said}: {tail}; {how}", estimate=slowdown, unit="ratio"
    )


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):.1f} % slower" if ratio >= 1 else f"{100 * (1 - ratio):.1f} % faster"


def samples_that_decide(estimate: Estimate, bound: float) -> int | None:
    """Return about how many samples would move the interval off ``bound``; None when that cannot be said.

    An interval shrinks with the square root of the count; the estimate is taken to stay where it is.
    """
    if estimate.value is None or estimate.low is None or estimate.high is None or estimate.sample_count < 2:
        return None
    distance = abs(bound - estimate.value)
    half = estimate.high - estimate.value if bound > estimate.value else estimate.value - estimate.low
    if distance == 0.0:
        return None
    count = math.ceil(estimate.sample_count * (half / distance) ** 2)
    return count if count > estimate.sample_count else None


def _what_would_decide(estimate: Estimate, bound: float) -> str:
    if estimate.value is None:
        return ""
    count = samples_that_decide(estimate, bound)
    if count is None:
        return ""
    what = "rounds" if estimate.sample_count < _ROUNDS_BELOW else "samples"
    if count > _SAMPLES_MAX:
        return f"; it lies so near that no usable number of {what} would decide"
    return f"; about {count} {what} instead of {estimate.sample_count} would decide, if the estimate stays"
