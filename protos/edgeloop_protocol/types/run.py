"""A run: one benchmark of one trial, recorded whole, whatever its outcome."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop_protocol.types.conditions import Anomaly, Conditions, Phase, Preflight, Watch
from edgeloop_protocol.types.emulation import Emulation, EmulationReading
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.load import Arrivals, ScenarioResult, Sustained
from edgeloop_protocol.types.measurement import Distribution, Estimate
from edgeloop_protocol.types.outcome import FailureKind, Isolation, NodeTime, Outcome, Placement
from edgeloop_protocol.types.trial import Benchmark, Trial

__all__ = [
    "Block",
    "Comparison",
    "DecisionParity",
    "Energy",
    "FailureKind",
    "Isolation",
    "Memory",
    "NodeTime",
    "Outcome",
    "OutputParity",
    "Parity",
    "Placement",
    "Run",
    "Simulation",
    "Source",
    "SpooledRun",
    "SteadyState",
    "StopReason",
    "Timing",
    "Verdict",
]


class Source(enum.Enum):
    """Where the numbers come from; never changes after recording."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    THIRD_PARTY = "third_party"
    EMULATED = "emulated"

    @classmethod
    def of(cls, simulation: Simulation | None, emulation: Emulation | None) -> Source:
        """Return the source of what an agent records."""
        if simulation is not None:
            return cls.SIMULATED
        return cls.MEASURED if emulation is None else cls.EMULATED


class SteadyState(enum.Enum):
    """Whether the samples settled."""

    REACHED = "reached"
    NOT_REACHED = "not_reached"
    NOT_ASSESSED = "not_assessed"


class StopReason(enum.Enum):
    """Why sampling stopped."""

    INTERVAL_NARROW = "interval_narrow"
    BUDGET_SPENT = "budget_spent"
    NOT_MEASURED = "not_measured"


class Verdict(enum.Enum):
    """Answer of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The samples of one process; blocks of the same round are what trials are paired by."""

    #: Round it belongs to, from 0.
    round: int
    #: Position within the round after shuffling, from 0.
    position: int
    #: Index of its first sample in the samples blob.
    sample_offset: int
    #: Number of its samples.
    sample_count: int
    #: Median of its samples; absent when it has none.
    p50_s: float | None = None
    #: Inferences done before anything counted.
    warmup_count: int = 0
    #: Time to create the session.
    load_s: float | None = None
    #: Time of the first inference.
    first_inference_s: float | None = None
    #: True when the model's pages were dropped from the cache before loading.
    cold: bool = False
    #: What went on during its steady phase; absent when it was not watched.
    watch: Watch | None = None
    #: Inferences of its steady phase. More than its samples when evenly thinned: every second, fourth, ... was kept,
    #: so that the memory of a small agent holds any number of inferences.
    inference_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latency in its phases."""

    #: Session creation in a new process after dropping the model's pages from the page cache.
    cold_load_s: Estimate
    #: Session creation in a new process with the model in the page cache.
    warm_load_s: Estimate
    #: First inference after load.
    first_inference_s: Estimate
    #: Steady latency; absent when none was measured.
    steady: Distribution | None = None
    #: Why there is no steady latency, or why its raw samples are not kept; empty when both are there.
    reason: str = ""
    #: Whether the samples settled.
    steady_state: SteadyState = SteadyState.NOT_ASSESSED
    #: Why sampling stopped.
    stop_reason: StopReason = StopReason.NOT_MEASURED
    #: One block per process.
    blocks: tuple[Block, ...] = ()
    #: SHA-256 of the blob of raw samples: little-endian int64 nanoseconds, blocks in order; empty when none.
    samples_digest: str = ""
    #: Largest relative disagreement between the runner's clock and the agent's over one process.
    clock_disagreement: float | None = None
    #: True when that exceeds max(1 ms, 5 %): no gate accepts such a run.
    timing_disputed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of the runner process, measured in a pass of its own."""

    #: Resident set after importing the runtime, before loading.
    baseline_rss_bytes: int | None = None
    #: Resident set after loading the model.
    loaded_rss_bytes: int | None = None
    #: Peak resident set up to the end of loading.
    load_peak_rss_bytes: int | None = None
    #: Peak resident set of the inferences alone.
    inference_peak_rss_bytes: int | None = None
    #: Proportional set size after the inferences.
    pss_bytes: int | None = None
    #: Anonymous memory after the inferences.
    anonymous_bytes: int | None = None
    #: File-backed memory after the inferences.
    file_bytes: int | None = None
    #: How it was read, for example "VmHWM reset through clear_refs".
    method: str = ""
    #: Why a figure is missing; empty when all are there.
    reason: str = ""
    #: Peak of the control group the runner is in, page cache included; absent when it has none of its own.
    cgroup_peak_bytes: int | None = None
    #: Control group version behind that figure, 1 or 2; absent without.
    cgroup_version: int | None = None
    #: Fall of the system's available memory from before loading to after the inferences: what counts on boards
    #: whose accelerator shares the memory.
    system_drop_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy over the steady phase."""

    #: Energy per inference, idle included.
    gross_j: Estimate
    #: Energy per inference above idle.
    above_idle_j: Estimate
    #: Mean power over the steady phase.
    mean_power_w: Estimate
    #: Power while idle before the run.
    idle_power_w: Estimate
    #: Sensor it was read from; empty when there is none.
    sensor: str = ""
    #: What the sensor covers: "package", "rail", "board" or "wall".
    scope: str = ""
    #: Readings per second achieved.
    rate_hz: float | None = None
    #: Power while idle after the run; absent when it was not read.
    idle_after_w: Estimate | None = None
    #: Stated relative error of the sensor; absent when unknown.
    error_fraction: float | None = None
    #: Share of the steady phase that reading the sensor took, 0 to 1: its effect on latency at most.
    perturbation_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputParity:
    """Closeness of one output over all golden items."""

    #: Output name.
    name: str
    #: Largest absolute error.
    max_absolute_error: float
    #: Largest error relative to the largest magnitude of the expected output.
    max_relative_error: float
    #: Cosine similarity of all values taken as one vector; absent when one of them is zero.
    cosine_similarity: float | None = None
    #: Values that are not finite on the device but are in the expected output.
    nonfinite_count: int = 0
    #: Whether every value is within the stated tolerance.
    within_tolerance: bool = False
    #: Stated absolute tolerance.
    absolute_tolerance: float = 0.0
    #: Stated relative tolerance, of the largest magnitude of the expected output.
    relative_tolerance: float = 0.0
    #: SHA-256 of the device's output values.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionParity:
    """Whether the decisions, not only the values, agree."""

    #: Output the decision is taken from.
    output: str
    #: How a decision is read: "argmax" or "threshold".
    rule: str
    #: Golden items.
    item_count: int
    #: Items whose decision differs.
    flip_count: int
    #: Rate of flips with its exact binomial (Clopper-Pearson) interval.
    flip_rate: Estimate
    #: Allowed rate.
    flip_rate_max: float
    #: Edges of the margin histogram; one more than counts.
    margin_edges: tuple[float, ...] = ()
    #: Items by margin of the expected decision (best minus second best, or distance to the threshold).
    margin_counts: tuple[int, ...] = ()
    #: Largest expected margin among the flipped items; absent without flips.
    largest_flipped_margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The device's outputs held against one reference."""

    #: "host": the same artifact run on the host. "original": the unmodified model run on the host.
    against: str
    #: Tolerance class, for example "fp32" or "int8".
    tolerance_class: str
    #: One entry per output.
    outputs: tuple[OutputParity, ...] = ()
    #: Decisions; absent for outputs that carry none.
    decision: DecisionParity | None = None
    #: Answer.
    verdict: Verdict = Verdict.UNDECIDED
    #: Why, in one sentence.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Parity of one run."""

    #: SHA-256 of the golden pack.
    golden_digest: str
    #: Golden items compared.
    item_count: int
    #: One per reference.
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a simulated number rests on."""

    #: Profile name.
    profile: str
    #: SHA-256 of the profile's file.
    profile_digest: str
    #: What the prediction rests on, in the words of the predictor's tiers, for example "transferred, unvalidated" or
    #: "calibrated here, in family"; scripted faults are named behind them.
    basis: str
    #: Seed of the noise.
    seed: int
    #: Half-width of the 90 % interval as a factor, for example 2.0 for "x/÷ 2"; absent when unknown.
    interval_factor: float | None = None
    #: Nearest family of models that was measured; empty without calibration.
    nearest_family: str = ""
    #: Distance to it, 0 (the same mix of kernels) to 1 (nothing in common); absent without calibration.
    family_distance: float | None = None
    #: What lies outside of what was measured, one sentence each.
    extrapolations: tuple[str, ...] = ()
    #: True when another version of the runtime was measured than ran.
    stale: bool = False

    @property
    def text(self) -> str:
        """Return the basis as every view shows it, and that it is stale where it is."""
        return f"{self.basis}, stale" if self.stale else self.basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One benchmark of one trial, recorded whole; appended, never updated."""

    #: Identifier given by the agent, a UUID.
    run_id: str
    #: Measured, measured under emulated resources, simulated or third party.
    source: Source
    #: Device it ran on.
    device_id: str
    #: The device's name at that time.
    device_name: str
    #: Boot it ran in.
    boot_id: str
    #: Agent version.
    agent_version: str
    #: Job it belongs to.
    job_id: str
    #: The client's request identifier of that job.
    request_id: str
    #: Lease under which it ran.
    lease_id: str
    #: Experiment; empty outside of one.
    experiment_id: str = ""
    #: What was measured.
    trial: Trial
    #: How it was to be measured.
    benchmark: Benchmark
    #: Runtime and its full version as loaded.
    runtime_version: str = ""
    #: Start, seconds since 1970.
    started_wall_s: float
    #: Duration of this trial's share of the job.
    duration_s: float
    #: How it ended.
    outcome: Outcome
    #: What exactly went wrong.
    failure_kind: FailureKind = FailureKind.NONE
    #: One sentence; empty on success.
    failure_reason: str = ""
    #: Last lines that the runner wrote, with control characters removed.
    log_tail: str = ""
    #: Device before the job.
    conditions_before: Conditions | None = None
    #: Device after the job.
    conditions_after: Conditions | None = None
    #: Latency; absent when not measured.
    timing: Timing | None = None
    #: Memory; absent when not measured.
    memory: Memory | None = None
    #: Energy; the estimates inside carry the reason when there is no sensor.
    energy: Energy | None = None
    #: Node times and placement; absent when not measured.
    placement: Placement | None = None
    #: Parity; absent when not checked.
    parity: Parity | None = None
    #: Isolation of the runner; absent when none was started.
    isolation: Isolation | None = None
    #: Basis of simulated numbers; absent for a real device.
    simulation: Simulation | None = None
    #: The client's context.
    context: tuple[tuple[str, str], ...] = ()
    #: The device as it was probed for this job; absent when the agent ended before it could look.
    facts: Facts | None = None
    #: Whether the device was fit to measure; absent when nobody looked.
    preflight: Preflight | None = None
    #: Stretches of the job in order of time.
    phases: tuple[Phase, ...] = ()
    #: What went on meanwhile that the figures are not to be read without.
    anomalies: tuple[Anomaly, ...] = ()
    #: Latency under scheduled arrivals; absent in a closed loop.
    arrivals: Arrivals | None = None
    #: A run of many minutes; absent when none was asked for.
    sustained: Sustained | None = None
    #: An MLPerf scenario; absent when none was asked for.
    scenario: ScenarioResult | None = None
    #: Resources narrower than the machine's under which it was measured; absent otherwise.
    emulation: Emulation | None = None
    #: Those limits as its runner read them; absent when none was opened.
    emulation_reading: EmulationReading | None = None

    @property
    def basis(self) -> str:
        """What the figures rest on: the prediction's basis, or the emulated resources; empty for plain ones."""
        if self.simulation is not None:
            return self.simulation.text
        return "" if self.emulation is None else self.emulation.text

    def __post_init__(self) -> None:
        if (self.source is Source.SIMULATED) != (self.simulation is not None):
            raise ValueError("a run carries the basis of its simulation exactly when its source is simulated")
        if (self.source is Source.EMULATED) != (self.emulation is not None):
            raise ValueError("a run carries the emulated resources exactly when its source is emulated")
        if (self.outcome is Outcome.SUCCESS) != (self.failure_kind is FailureKind.NONE):
            raise ValueError("a run names what went wrong exactly when it did not succeed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledRun:
    """A run with its place in the device's spool."""

    #: Random identifier of the spool, new when the device's state was lost.
    epoch: str
    #: Place in the spool, from 1, without holes.
    sequence: int
    #: The record.
    run: Run
