"""One experiment: what was asked, what is planned, what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgeloop_protocol.types.artifact import StateBinding
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.run import Run
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.candidate import Candidate
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import Recipe
from edgeloop.domain.strategy import Evidence, Strategy
from edgeloop.domain.sweep import NO_SWEEP, BatchSweep, RateSweep, SweepPlan

__all__ = [
    "DataSummary",
    "DeviceResult",
    "ExperimentRequest",
    "ExperimentResult",
    "Listener",
    "Plan",
    "PlanStep",
    "SilentListener",
    "Skipped",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRequest:
    """What the user asked for."""

    #: Path of a model file, or ``module:function`` / ``path.py:function`` that returns one.
    model: str
    #: Data as the user named it; empty for a parity-only experiment.
    data: str = ""
    #: Devices, unique names.
    devices: tuple[DeviceSpec, ...]
    #: Constraints as text.
    require: tuple[str, ...] = ()
    #: Preferred quantity ("size"), or weights ("latency_p50:2,size:1").
    prefer: str = "latency_p50"
    #: Recipes to try; empty means propose them from the model and the devices.
    recipes: tuple[Recipe, ...] = ()
    #: Runtime settings of every trial.
    settings: RuntimeSettings = RuntimeSettings()
    #: Benchmark; its seed is replaced by the experiment's. The nominal series measures no device that is not fit.
    benchmark: Benchmark = Benchmark(series="nominal")
    #: State carried from step to step, where the data does not declare it.
    state: tuple[StateBinding, ...] = ()
    #: Seed of everything random.
    seed: int = 0
    #: Time the whole experiment may take; None for no limit.
    budget_s: float | None = None
    #: How long to wait for a busy device.
    lease_wait_s: float = 30.0
    #: Candidates whose drop is certainly larger than this share of the original's quality are not measured.
    hopeless_drop: float = 0.5
    #: Anything worth finding again.
    context: tuple[tuple[str, str], ...] = ()
    #: Further settings, each of another runtime, that every candidate is measured under too.
    variants: tuple[RuntimeSettings, ...] = ()
    #: Batch sizes and rates at which the answer of each device is measured once more.
    sweep: SweepPlan = NO_SWEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A recipe that was not tried, and why."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One step with its expected duration."""

    what: str
    expected_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an experiment would do."""

    model: ModelDescription
    recipes: tuple[Recipe, ...]
    skipped: tuple[Skipped, ...]
    devices: tuple[str, ...]
    steps: tuple[PlanStep, ...]
    #: Benchmark after the budget was applied.
    benchmark: Benchmark

    @property
    def expected_s(self) -> float:
        """Expected duration of the whole."""
        return sum(step.expected_s for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary:
    """The data in figures."""

    name: str
    digest: str
    #: Items judged, none of them used for calibration.
    evaluation_count: int
    #: Items used for calibration.
    calibration_count: int
    #: Items of the golden pack.
    golden_count: int
    labelled: bool
    task: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResult:
    """Everything that came back from one device."""

    device: DeviceSpec
    #: None when the device was never reached.
    facts: Facts | None = None
    runs: tuple[Run, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    #: None when there was nothing to decide from.
    strategy: Strategy | None = None
    #: One sentence; empty when the device did its work.
    error: str = ""
    #: Bytes sent to the device and bytes it had already.
    sent_bytes: int = 0
    present_bytes: int = 0
    #: Wall time on this device.
    duration_s: float = 0.0
    #: Throughput over batch size; None when it was not swept.
    batch_sweep: BatchSweep | None = None
    #: Latency over the rate of requests; None when it was not swept.
    rate_sweep: RateSweep | None = None

    @property
    def trial_runs(self) -> tuple[Run, ...]:
        """The runs that candidates are judged by: those of the sweeps' points left out."""
        swept = {point.run_id for point in self.batch_sweep.points} if self.batch_sweep else set()
        if self.rate_sweep:
            swept |= {point.run_id for point in self.rate_sweep.points}
        return tuple(run for run in self.runs if run.run_id not in swept)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResult:
    """An experiment as it is stored, reported and decided again."""

    experiment_id: str
    #: Seconds since 1970.
    created_wall_s: float
    duration_s: float
    edgeloop_version: str
    request: ExperimentRequest
    model: ModelDescription
    data: DataSummary
    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    devices: tuple[DeviceResult, ...]


class Listener(Protocol):
    """Hears what happens, as it happens; real counts only."""

    def phase(self, name: str) -> None:
        """A new phase begins."""
        ...

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """``done`` of ``total`` pieces of ``what`` are finished; total 0 when unknown."""
        ...

    def note(self, text: str) -> None:
        """Something a person should read."""
        ...


class SilentListener:
    """A listener that says nothing."""

    def phase(self, name: str) -> None:
        """Say nothing."""

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""
