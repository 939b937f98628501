"""What is to be measured, and how."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ARRIVALS",
    "INTERLEAVES",
    "SCENARIOS",
    "SERIES",
    "Benchmark",
    "JobSpec",
    "RuntimeSettings",
    "Trial",
]

SERIES = ("nominal", "as_deployed")
INTERLEAVES = ("block", "batch")
ARRIVALS = ("closed", "paced", "open_uniform", "open_poisson")
SCENARIOS = ("single_stream", "multi_stream", "server", "offline")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")


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
    #: Refuse to measure when nodes run on another provider than the first one asked for.
    require_provider: bool = False
    #: Whether the runtime keeps freed memory in an arena for later.
    memory_arena: bool = True
    #: Precision in which floating-point products are computed: "fp32", "fp16" or "bf16"; pinned, because some
    #: runtimes choose a lower one by themselves.
    inference_precision: str = "fp32"
    #: Least inferences of warm-up for this trial; 0 takes the benchmark's.
    warmup_count_min: int = 0
    #: Further options of the runtime by its own names; each is applied or refused, never ignored.
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.inference_precision not in ("fp32", "fp16", "bf16"):
            raise ValueError(f"inference_precision is fp32, fp16 or bf16, not {self.inference_precision!r}")
        if self.warmup_count_min < 0:
            raise ValueError("warmup_count_min is not negative")
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
    #: "nominal" measures only a device that passes every preflight check; "as_deployed" measures it as it is and
    #: records the same checks. Figures of the two are different series.
    series: str = "as_deployed"
    #: Longest wait for the device to become fit.
    settle_s_max: float = 30.0
    #: Idling measured before the first and after the last round.
    idle_s: float = 0.0
    #: "block": one process at a time. "batch": the processes of a round live side by side and take turns batch by
    #: batch in mirrored order (ABBA), so that whatever drifts within a round drifts under all of them.
    interleave: str = "block"
    #: How requests come: "closed", "paced", "open_uniform" or "open_poisson".
    arrival: str = "closed"
    #: Requests per second of every arrival but "closed", and of the server scenario.
    rate_hz: float = 0.0
    #: Requests that may wait; a further one is dropped and counted.
    queue_count_max: int = 64
    #: Length of one sustained run in a process of its own; 0 for none.
    sustained_s: float = 0.0
    #: Length of a window of the sustained run.
    window_s: float = 10.0
    #: MLPerf scenario in a process of its own: "single_stream", "multi_stream", "server", "offline"; empty for none.
    scenario: str = ""
    #: Least duration of the scenario; MLPerf itself asks for 600 s.
    scenario_s_min: float = 10.0
    #: Latency bound of the server scenario.
    latency_bound_s: float = 0.0
    #: Whether a fixed pattern of load and idling goes before the first round, for external meters to be aligned by.
    load_pulse: bool = False

    def __post_init__(self) -> None:
        _check_choice("series", self.series, SERIES)
        _check_choice("interleave", self.interleave, INTERLEAVES)
        _check_choice("arrival", self.arrival, ARRIVALS)
        _check_choice("scenario", self.scenario, ("", *SCENARIOS))
        if self.arrival != "closed" and self.rate_hz <= 0.0:
            raise ValueError(f"arrival {self.arrival} needs a rate_hz above 0")
        if self.scenario == "server" and (self.rate_hz <= 0.0 or self.latency_bound_s <= 0.0):
            raise ValueError("the server scenario needs a rate_hz and a latency_bound_s above 0")
        if min(self.settle_s_max, self.idle_s, self.sustained_s, self.scenario_s_min) < 0.0:
            raise ValueError("durations are not negative")
        if self.window_s <= 0.0 or self.queue_count_max < 1:
            raise ValueError("window_s is positive and queue_count_max starts at 1")
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
