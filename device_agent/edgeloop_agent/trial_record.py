"""What is known of one trial while its job runs; turned into a run at the end, whatever happened."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import FailureKind, Isolation, Memory, Outcome, Parity, Placement
from edgeloop_protocol.types.trial import Trial

from edgeloop_agent.benchmark import ClockCheck
from edgeloop_agent.energy import EnergySpan
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.watch import Watched

__all__ = ["MeasuredBlock", "TrialRecord", "read_artifact"]


@dataclass(slots=True, kw_only=True)
class MeasuredBlock:
    """One process of the latency measurement; kept also when it ended early."""

    round: int
    position: int
    #: Time to create the session, as the runner measured it.
    load_ns: int | None = None
    first_inference_ns: int | None = None
    warmup_count: int = 0
    #: Slowest inference of the warm-up after the first.
    warmup_slowest_ns: int | None = None
    #: What went on during its steady phase.
    watched: Watched | None = None
    #: Whether the model's pages were really out of the page cache before loading.
    cold: bool = False
    #: Steady samples in order of time.
    samples_ns: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True, kw_only=True)
class TrialRecord:
    """Everything collected about one trial."""

    trial: Trial
    directory: Path | None = None
    artifact: Artifact | None = None
    blocks: list[MeasuredBlock] = field(default_factory=list)
    #: Samples of all blocks, in order of time.
    pooled_ns: array[int] = field(default_factory=lambda: array("q"))
    clock_check: ClockCheck = field(default_factory=ClockCheck)
    energy_spans: list[EnergySpan] = field(default_factory=list)
    memory: Memory | None = None
    placement: Placement | None = None
    parity: Parity | None = None
    runtime_version: str = ""
    isolation: Isolation | None = None
    #: 90 % interval of this trial's own prediction as a factor; absent for a real board.
    interval_factor: float | None = None
    failure: RunnerFailure | None = None
    log_tail: str = ""
    #: Wall clock when its first process started, seconds since 1970.
    started_wall_s: float | None = None
    #: Job time that its processes took.
    spent_ns: int = 0
    #: True once nothing is left to do for it.
    finished: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is worth starting another process for it."""
        return self.failure is None and not self.finished

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
