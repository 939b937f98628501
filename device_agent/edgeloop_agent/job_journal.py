"""What survives of the jobs: one sealed JSON file each, written before anything is done about it."""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.emulation import Emulation
from edgeloop_protocol.types.job import TERMINAL, Job, JobState
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Simulation, Source
from edgeloop_protocol.types.trial import JobSpec, Trial

from edgeloop_agent.sealed import seal, unseal

__all__ = ["JobJournal", "JobRecord", "run_without_measurement"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as it stands on the disk."""

    #: Identifier given by the agent.
    job_id: str
    #: The client's identifier.
    request_id: str
    #: SHA-256 of the spec, to tell a repetition from another job.
    body_digest: str
    #: Rises with every job of this device.
    order: int
    #: Where it stands.
    state: JobState
    #: Fencing token under which it was submitted.
    fencing_token: int
    #: What is measured; dropped when the job is over.
    spec: JobSpec | None
    #: Identifier of the device.
    device_id: str
    #: Name of the device.
    device_name: str
    #: Boot it was accepted in.
    boot_id: str
    #: Version of the agent that accepted it.
    agent_version: str
    #: Basis of simulated numbers; absent on a real board.
    simulation: Simulation | None = None
    #: Emulated resources; absent for all of the machine.
    emulation: Emulation | None = None
    #: Acceptance, seconds since 1970.
    accepted_wall_s: float
    #: Sequence number of its latest event.
    last_sequence: int = 0
    #: Why it failed; empty otherwise.
    reason: str = ""
    #: Spool number of its first result, written before the first result; 0 before that.
    first_spool_sequence: int = 0
    #: State that it takes once every result is in the spool.
    final_state: JobState | None = None

    def job(self) -> Job:
        """Return what a client sees of it."""
        return Job(
            job_id=self.job_id,
            request_id=self.request_id,
            state=self.state,
            last_sequence=self.last_sequence,
            reason=self.reason,
        )


def run_without_measurement(
    record: JobRecord, trial: Trial, outcome: Outcome, failure_kind: FailureKind, reason: str
) -> Run:
    """Return the row of a trial that was not measured, under the identifier of a measured one."""
    spec = record.spec
    if spec is None:
        raise CorruptDataError(f"job {record.job_id} lost its spec before its results were kept.")
    return Run(
        run_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.job_id}/{trial.trial_id}")),
        source=Source.of(record.simulation, record.emulation),
        device_id=record.device_id,
        device_name=record.device_name,
        boot_id=record.boot_id,
        agent_version=record.agent_version,
        job_id=record.job_id,
        request_id=record.request_id,
        lease_id=spec.lease_id,
        experiment_id=spec.experiment_id,
        trial=trial,
        benchmark=spec.benchmark,
        started_wall_s=record.accepted_wall_s,
        duration_s=0.0,
        outcome=outcome,
        failure_kind=failure_kind,
        failure_reason=reason,
        simulation=record.simulation,
        emulation=record.emulation,
        context=spec.context,
    )


class JobJournal:
    """The files of the jobs; methods block on the disk."""

    def __init__(self, fs: FileSystem, root: Path) -> None:
        self._fs = fs
        self._root = root

    def load(self) -> list[JobRecord]:
        """Return every job in the order of acceptance; a spoiled file is set aside."""
        make_durable_directory(self._fs, self._root)
        records = []
        for name, _ in self._fs.entries(self._root):
            path = self._root / name
            if name.endswith(".tmp"):
                self._fs.remove(path)
            elif name.endswith(".json") and (record := self._read(path)):
                records.append(record)
        return sorted(records, key=lambda record: record.order)

    def _read(self, path: Path) -> JobRecord | None:
        try:
            return from_json(unseal(self._fs.read(path)), JobRecord)
        except (CorruptDataError, InvalidInputError) as error:
            _log.error("%s is set aside: %s", path, error)
            self._fs.rename(path, path.with_suffix(".corrupt"))
            return None

    def write(self, record: JobRecord) -> None:
        """Keep a job durably; of one that is over, the spec is dropped.

        Raises:
            OSError: the disk refuses.
        """
        if record.state in TERMINAL:
            record = dataclasses.replace(record, spec=None)
        body = json.dumps(to_json(record), sort_keys=True, separators=(",", ":")).encode()
        write_durably(self._fs, self._root / f"{record.job_id}.json", seal(body))

    def forget(self, job_id: str) -> None:
        """Remove a job that nobody will ask for again."""
        self._fs.remove(self._root / f"{job_id}.json")
