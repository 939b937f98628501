"""What is to be measured, and how."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Benchmark", "JobSpec", "RuntimeSettings", "Trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Settings of one runtime; all of them are set, and all of them are recorded."""

    #: Registered runtime driver, for example "onnxruntime".
    runtime: str = "onnxruntime"
    #: Execution providers in order of preference; empty means the processor alone.
    providers: tuple[str, ...] = ()
    #: Threads within one operator.
    intra_op_threads: int = 1
    #: Threads across operators.
    inter_op_threads: int = 1
    #: Whether idle worker threads spin. Spinning saves microseconds and burns a core.
    allow_spinning: bool = False
    #: Graph optimisation done at load: "none", "basic", "extended" or "all".
    graph_optimization: str = "all"
    #: Processors the runner is pinned to; empty means not pinned.
    affinity: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.intra_op_threads < 1 or self.inter_op_threads < 1:
            raise ValueError("thread counts start at 1")
        if self.graph_optimization not in ("none", "basic", "extended", "all"):
            raise ValueError(
                f"graph_optimization is none, basic, extended or all, not {self.graph_optimization!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate on one runtime with one set of settings."""

    #: Client-chosen identifier, unique within the job.
    trial_id: str
    #: Name for people, for example "static int8 U8S8 per channel".
    label: str
    #: SHA-256 of the artifact's manifest; every file the manifest names must be in the device's store.
    artifact_digest: str
    #: Runtime and its settings.
    settings: RuntimeSettings = RuntimeSettings()
    #: True for the trial that the others are paired with, the unmodified model.
    anchor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Specification of a benchmark: warm-up, stop rule, inputs, batch, deadline."""

    #: Fresh processes per trial; trials are interleaved in seeded order within each round.
    rounds: int = 5
    #: Items per inference; the golden inputs are stacked to this size.
    batch_size: int = 1
    #: Least inferences before anything counts.
    warmup_count_min: int = 10
    #: Least time spent warming up, per process.
    warmup_s_min: float = 0.2
    #: Longest time spent warming up, per process.
    warmup_s_max: float = 5.0
    #: Wanted half-width of the 95 % interval of the median, relative to the median.
    median_half_width: float = 0.02
    #: Least measured samples per trial over all rounds (64 allow a p90, 662 a p99).
    sample_count_min: int = 64
    #: Longest steady measurement per trial, over all rounds.
    steady_s_max: float = 5.0
    #: Length of one batch of inferences between two clock checks.
    batch_s: float = 0.1
    #: Seed of everything random: order of trials, simulated noise.
    seed: int = 0
    #: Whether latency is measured at all.
    measure_latency: bool = True
    #: Whether a separate process measures memory.
    measure_memory: bool = True
    #: Whether a separate process records node-by-node time and provider placement.
    measure_nodes: bool = True
    #: Whether a separate process checks parity against the golden pack.
    check_parity: bool = True

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.batch_size < 1 or self.sample_count_min < 1:
            raise ValueError("rounds, batch_size and sample_count_min start at 1")
        if not 0.0 < self.median_half_width < 1.0:
            raise ValueError("median_half_width is a fraction between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One exclusive piece of work for a device; yields one run per trial."""

    #: Client-chosen UUID; submitting again with the same one and the same body returns the same job.
    request_id: str
    #: Lease under which it runs.
    lease_id: str
    #: The lease's fencing token.
    fencing_token: int
    #: What is measured; the anchor, if any, first.
    trials: tuple[Trial, ...]
    #: How it is measured.
    benchmark: Benchmark = Benchmark()
    #: The whole job ends by then.
    deadline_s: float = 600.0
    #: One runner process is killed after this.
    runner_deadline_s: float = 120.0
    #: Address space of a runner process is limited to this; 0 means the device's default.
    runner_memory_bytes: int = 0
    #: Experiment this belongs to; empty outside of one.
    experiment_id: str = ""
    #: Anything worth finding again: build number, git commit.
    context: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError("a job has at least one trial")
        if len({trial.trial_id for trial in self.trials}) != len(self.trials):
            raise ValueError("trial ids are unique within a job")
        if self.deadline_s <= 0 or self.runner_deadline_s <= 0:
            raise ValueError("deadlines are positive")
