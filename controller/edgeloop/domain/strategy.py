"""What is to be shipped to one device, and why; the evidence it was decided from."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Source, Verdict

from edgeloop.domain.latency import LatencyAssessment

__all__ = ["CheckResult", "Decision", "Evidence", "Finding", "Strategy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one candidate on one device."""

    #: Label of the candidate.
    candidate: str
    #: Whether it is the unmodified model.
    original: bool
    #: Artifact; empty when none was built.
    artifact_digest: str
    #: Run it rests on; empty when it never ran.
    run_id: str = ""
    #: Measured, simulated, third party; None when it never ran.
    source: Source | None = None
    #: How the run ended; None when it never ran.
    outcome: Outcome | None = None
    #: Why it is out before any constraint (skipped, failed, hopeless); empty when it is in.
    exclusion: str = ""
    #: Parity on the device; None when not checked.
    parity: Verdict | None = None
    #: Why parity failed or is undecided.
    parity_reason: str = ""
    #: True when the clocks disagreed.
    timing_disputed: bool = False
    #: Quantity name -> value on this device, 95 % interval.
    values: tuple[tuple[str, Estimate], ...] = ()
    #: Quantity name -> how many times better than the original (above 1 is better), paired, 95 % interval.
    gains: tuple[tuple[str, Estimate], ...] = ()
    #: True when the latency samples had not settled: there are no latency values then.
    unsettled: bool = False
    #: Basis of simulated figures, for example "transferred, unvalidated"; empty for measured ones.
    basis: str = ""
    #: "nominal" or "as_deployed"; empty when it never ran. Figures of the two are never put side by side.
    series: str = ""
    #: Why no gate accepts its figures (a disqualifying anomaly, disputed timing); empty when they may stand.
    disqualification: str = ""
    #: What the raw latency samples tell; None when there is no run, or its samples were not looked at.
    latency: LatencyAssessment | None = None

    def value(self, quantity: str) -> Estimate:
        """Return the value of a quantity, absent with a reason when unknown."""
        return dict(self.values).get(quantity, Estimate.absent(f"{quantity} was not measured"))

    def gain(self, quantity: str) -> Estimate:
        """Return the gain in a quantity, absent with a reason when unknown."""
        return dict(self.gains).get(quantity, Estimate.absent(f"the gain in {quantity} was not measured"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One constraint held against one candidate."""

    #: The constraint as the user wrote it.
    constraint: str
    #: Answer.
    verdict: Verdict
    #: One sentence with the figures.
    reason: str
    #: Distance to the bound relative to the bound, positive is a violation; None when unknown.
    violation: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the decision says of one candidate."""

    #: Label of the candidate.
    candidate: str
    #: "chosen", "runner-up", "feasible", "infeasible", "undecided", "excluded".
    standing: str
    #: Every check.
    checks: tuple[CheckResult, ...] = ()
    #: One sentence.
    reason: str = ""
    #: Whether it lies on the interval-aware Pareto front of the feasible ones.
    on_front: bool = False


class Decision(enum.Enum):
    """The four answers."""

    THIS_ONE = "this_one"
    KEEP_ORIGINAL = "keep_original"
    UNDECIDED = "undecided"
    NONE_FEASIBLE = "none_feasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """The answer for one device."""

    #: Device name.
    device: str
    #: Device identifier.
    device_id: str
    #: The answer.
    decision: Decision
    #: Candidate to ship; empty when undecided without a proposal or none is feasible.
    candidate: str = ""
    #: Its artifact.
    artifact_digest: str = ""
    #: Second best; empty when there is none.
    runner_up: str = ""
    #: Nearest to feasible when none is.
    nearest: str = ""
    #: Sentences that a person reads.
    reasons: tuple[str, ...] = ()
    #: One per candidate.
    findings: tuple[Finding, ...] = ()
    #: Source of the figures: never satisfies a gate for a real device when simulated.
    source: Source | None = None
    #: Basis of simulated figures, for example "transferred, unvalidated"; empty for measured ones.
    basis: str = ""
