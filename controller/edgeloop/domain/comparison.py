"""Two artifacts held against each other on one device, and how far apart one artifact is from itself there."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

from edgeloop.domain.device import DeviceSpec

__all__ = ["ChangeVerdict", "Comparison", "ComparisonKey", "NoiseFloor", "RatioEstimate"]


class ChangeVerdict(enum.Enum):
    """Whether B is slower or faster than A, beyond what the device does to one and the same artifact."""

    SLOWER = "slower"
    FASTER = "faster"
    #: The interval does not leave the floor, and a change of the stated size would have been seen.
    NO_CHANGE_SHOWN = "no_change_shown"
    #: The figures do not carry an answer.
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonKey:
    """What has to be equal for one comparison to tell something of the noise of another."""

    device_id: str
    #: Runtime with its full version, for example "onnxruntime 1.23.2".
    runtime: str
    #: Threads within one operator.
    threads: int
    #: Everything of the benchmark that makes it as noisy as it is: rounds, lengths, interleaving, series, batch size.
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """How far an artifact differed from itself on this device beyond the interval of the comparison (A/A)."""

    #: Relative difference that is noise and that intervals do not hold, for example 0.008; 0 when they held it all.
    fraction: float
    #: A/A comparisons it rests on.
    count: int
    #: Age of the newest and of the oldest of them.
    newest_age_s: float
    oldest_age_s: float
    #: True when one was measured for this very comparison.
    measured_now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioEstimate:
    """B / A in one quantile of latency."""

    #: "latency_p50" or "latency_p90".
    quantity: str
    #: B / A, above 1 is slower; 95 % interval.
    ratio: Estimate
    #: A / B, above 1 is faster; 95 % interval.
    gain: Estimate
    #: Answer, the device's noise considered.
    verdict: ChangeVerdict
    #: Whether the 95 % interval alone leaves 1: right nineteen times in twenty, but on noise of the device too.
    raw_change: bool = False
    #: "paired rounds" (Student) or "hierarchical bootstrap"; empty without an interval.
    method: str = ""
    #: One sentence.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One comparison on one device; recorded, and never changed."""

    #: Device as asked for.
    device: DeviceSpec
    #: Label and artifact digest of both.
    a: str
    b: str
    a_digest: str
    b_digest: str
    #: Runs it rests on; empty when the device did not get that far.
    a_run_id: str = ""
    b_run_id: str = ""
    #: Absent when there are no runs.
    key: ComparisonKey | None = None
    #: Boot it was measured in.
    boot_id: str = ""
    #: Measured or simulated.
    source: Source | None = None
    #: Basis of simulated figures; empty for measured ones.
    basis: str = ""
    #: Seconds since 1970.
    measured_wall_s: float = 0.0
    #: Rounds with both models.
    round_count: int = 0
    #: The median first: its verdict is the comparison's.
    ratios: tuple[RatioEstimate, ...] = ()
    #: The device's own noise; absent when it is not known.
    floor: NoiseFloor | None = None
    #: Wall time on the device, the A/A comparison of a fresh floor included.
    duration_s: float = 0.0
    #: What a reader has to know besides, whole sentences.
    notes: tuple[str, ...] = ()
    #: One sentence; empty when the device did its work.
    error: str = ""

    @property
    def same(self) -> bool:
        """Whether both are one artifact: an A/A comparison."""
        return self.a_digest == self.b_digest

    @property
    def predicted(self) -> bool:
        """Whether the figures are simulated."""
        return self.source is Source.SIMULATED

    @property
    def verdict(self) -> ChangeVerdict:
        """The verdict on the median."""
        return self.ratios[0].verdict if self.ratios else ChangeVerdict.UNDECIDED
