"""What is known of one trial while its job runs; turned into a run at the end, whatever happened."""

from __future__ import annotations

import dataclasses
import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.conditions import Phase
from edgeloop_protocol.types.emulation import EmulationReading
from edgeloop_protocol.types.load import ScenarioResult, Sustained
from edgeloop_protocol.types.run import FailureKind, Isolation, Memory, Outcome, Parity, Placement, Simulation
from edgeloop_protocol.types.trial import Trial

from edgeloop_agent.benchmark import ClockCheck
from edgeloop_agent.energy import EnergySpan
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.watch import Watched
from edgeloop_agent.samples import ThinnedSamples

__all__ = ["MeasuredBlock", "RequestCounts", "TrialRecord", "read_artifact"]


_WARMUP_KEPT_COUNT = 200


@dataclass(slots=True, kw_only=True)
class RequestCounts:
    """What became of the scheduled requests of one block."""

    #: Latencies in order of sending.
    latencies: ThinnedSamples
    dropped_count: int
    queue_count_peak: int
    #: Length of the schedule as it was drawn, and of the block as it ran.
    scheduled_ns: int
    duration_ns: int
    #: Time in which an inference ran.
    busy_ns: int


@dataclass(slots=True, kw_only=True)
class MeasuredBlock:
    """One process of the latency measurement; kept also when it ended early."""

    round: int
    position: int
    #: Time to create the session, as the runner measured it.
    load_ns: int | None = None
    first_inference_ns: int | None = None
    warmup_count: int = 0
    #: The earliest inferences, the first one included; enough to see what compiles itself.
    warmup_ns: array[int] = field(default_factory=lambda: array("q"))
    #: What went on during its steady phase.
    watched: Watched | None = None
    #: Whether the model's pages were really out of the page cache before loading.
    cold: bool = False
    #: Steady times of inferences in order of time.
    samples: ThinnedSamples = field(default_factory=ThinnedSamples)
    #: Latencies from the intended time of sending, and what became of the requests; None in a closed loop.
    requests: RequestCounts | None = None

    @property
    def samples_ns(self) -> array[int]:
        """Return the steady samples that are kept."""
        return self.samples.kept

    def note_warm_up(self, samples_ns: Sequence[int]) -> None:
        """Take in inferences of the warm-up."""
        self.warmup_ns.extend(samples_ns[: max(0, _WARMUP_KEPT_COUNT - len(self.warmup_ns))])
        self.warmup_count += len(samples_ns)


@dataclass(slots=True, kw_only=True)
class TrialRecord:
    """Everything collected about one trial."""

    trial: Trial
    directory: Path | None = None
    artifact: Artifact | None = None
    blocks: list[MeasuredBlock] = field(default_factory=list)
    #: Stretches of its own processes.
    phases: list[Phase] = field(default_factory=list)
    clock_check: ClockCheck = field(default_factory=ClockCheck)
    energy_spans: list[EnergySpan] = field(default_factory=list)
    memory: Memory | None = None
    placement: Placement | None = None
    parity: Parity | None = None
    sustained: Sustained | None = None
    scenario: ScenarioResult | None = None
    runtime_version: str = ""
    isolation: Isolation | None = None
    #: What this trial's own prediction rests on; None for a real board, and before a prediction was made.
    simulation: Simulation | None = None
    #: Limits that its runner read on itself; absent without emulated resources.
    own_limits: EmulationReading | None = None
    failure: RunnerFailure | None = None
    log_tail: str = ""
    #: Wall clock when its first process started, seconds since 1970.
    started_wall_s: float | None = None
    #: Job time that its processes took.
    spent_ns: int = 0
    #: True once nothing is left to do for it.
    finished: bool = False

    @property
    def pooled_ns(self) -> array[int]:
        """Return the kept samples of all blocks, in order of time."""
        pooled = array("q")
        for block in self.blocks:
            pooled.extend(block.samples_ns)
        return pooled

    @property
    def sample_count(self) -> int:
        """Return how many inferences were measured, those whose samples were thinned out included."""
        return sum(block.samples.count for block in self.blocks)

    @property
    def alive(self) -> bool:
        """Whether it is worth starting another process for it."""
        return self.failure is None and not self.finished

    def note_own_limits(self, opened: Mapping[str, Any]) -> None:
        """Keep the limits that a runner read on itself, where it was asked to."""
        if "own_limits" in opened:
            self.own_limits = from_json(opened["own_limits"], EmulationReading)

    def note_prediction(self, board: Simulation | None, opened: Mapping[str, Any]) -> None:
        """Keep what the prediction of this trial rests on, which may be more or less than that of its board."""
        if board is not None and "prediction" in opened:
            found = opened["prediction"]
            self.simulation = dataclasses.replace(
                board, **{**found, "extrapolations": tuple(found["extrapolations"])}
            )

    def opened(self) -> tuple[Path, Artifact]:
        """Return directory and manifest.

        Raises:
            RunnerFailure: the artifact could not be read.
        """
        if self.directory is None or self.artifact is None:
            raise self.failure or _corrupt(f"the artifact of {self.trial.label!r} was not read")
        return self.directory, self.artifact


def read_artifact(record: TrialRecord, directories: Mapping[str, Path]) -> None:
    """Read the manifest of the record's artifact; a broken one is the record's failure."""
    digest = record.trial.artifact_digest
    directory = directories.get(digest)
    if directory is None:
        record.failure = _corrupt(f"the artifact {digest} is not on this device")
        return
    try:
        data = (directory / "manifest.json").read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise InvalidInputError(f"its digest is {found}, not {digest}.")
        record.artifact = from_json(data, Artifact)
        record.directory = directory
    except (OSError, InvalidInputError) as error:
        record.failure = _corrupt(f"the manifest of {record.trial.label!r} cannot be used: {error}")


def _corrupt(reason: str) -> RunnerFailure:
    return RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.CORRUPT_ARTIFACT, reason)
