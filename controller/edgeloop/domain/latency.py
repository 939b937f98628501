"""What the controller makes of the raw latency samples of one run: settled or not, how certain, how many modes."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate

__all__ = ["LatencyAssessment", "LatencyMode", "ProcessSteadiness", "Steadiness"]


_NOT_ASSESSED = Estimate.absent("not assessed")


class Steadiness(enum.Enum):
    """How latency developed over a process, or over the processes of a run (Barrett et al., OOPSLA 2017)."""

    #: One level throughout.
    FLAT = "flat"
    #: It became faster and then stayed at its fastest level.
    WARM_UP = "warm_up"
    #: It became slower and then stayed at that level.
    SLOWDOWN = "slowdown"
    #: It goes to and fro between two levels.
    CYCLIC = "cyclic"
    #: It still changes at the end: there is no number to take.
    NO_STEADY_STATE = "no_steady_state"
    #: The processes of the run developed differently, most of them to a steady level. Runs only.
    INCONSISTENT = "inconsistent"
    #: Too few samples, or none kept.
    NOT_ASSESSED = "not_assessed"

    @property
    def settled(self) -> bool:
        """Whether a point estimate may be taken."""
        return self not in (Steadiness.CYCLIC, Steadiness.NO_STEADY_STATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSteadiness:
    """One process: its windows, where its level changed and what it settled at."""

    #: Round of the process.
    round: int
    #: Answer.
    steadiness: Steadiness
    #: Median of each window, in order of time; windows hold equally many samples.
    window_medians_s: tuple[float, ...] = ()
    #: Windows at which another level begins, each from 1.
    changepoints: tuple[int, ...] = ()
    #: First sample of the accepted tail, counted within the process.
    tail_offset: int = 0
    #: Relative change per minute over the last windows, 95 % interval; absent with the reason.
    slope_per_min: Estimate = _NOT_ASSESSED
    #: One sentence.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyMode:
    """One mode of the samples."""

    #: Median of the samples in this mode.
    centre_s: float
    #: Share of the samples in it, 0 to 1.
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyAssessment:
    """The latency of one run as far as its raw samples tell."""

    #: The run.
    run_id: str
    #: Over all processes.
    steadiness: Steadiness
    #: One sentence: what that rests on, or why it was not assessed.
    reason: str
    #: Quantiles of the accepted tails, with 95 % intervals that count processes first; absent with the reason.
    p50: Estimate
    p90: Estimate
    p95: Estimate
    p99: Estimate
    #: One per process that has samples.
    processes: tuple[ProcessSteadiness, ...] = ()
    #: One mode, or both when the smaller one holds a tenth of the samples or more, the faster first.
    modes: tuple[LatencyMode, ...] = ()
    #: Samples in the accepted tails.
    sample_count: int = 0
    #: Of these, beyond 1.5 and beyond 3 interquartile ranges (Tukey): counted, never dropped.
    mild_outlier_count: int = 0
    severe_outlier_count: int = 0
    #: Consecutive samples that hang together, the length of a resampled block.
    block_length: int = 0

    @property
    def settled(self) -> bool:
        """Whether a point estimate may be taken."""
        return self.steadiness.settled

    @property
    def bimodal(self) -> bool:
        """Whether two modes have to be reported."""
        return len(self.modes) > 1

    def quantile(self, name: str) -> Estimate:
        """Return the estimate of "p50", "p90", "p95" or "p99"."""
        found: dict[str, Estimate] = {"p50": self.p50, "p90": self.p90, "p95": self.p95, "p99": self.p99}
        return found[name]
