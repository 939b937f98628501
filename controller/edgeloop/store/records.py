"""Run records, experiments and decisions: appended, found again, never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import (
    CorruptDataError,
    NotFoundError,
    StateError,
    UnsupportedError,
)
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.run import Outcome, Run, Source, SpooledRun
from sqlalchemy import Connection, RowMapping, Table, func, select

from edgeloop.domain.candidate import Candidate
from edgeloop.domain.comparison import Comparison, ComparisonKey
from edgeloop.domain.experiment import (
    DataSummary,
    DeviceResult,
    ExperimentRequest,
    ExperimentResult,
    Skipped,
)
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.strategy import Strategy
from edgeloop.store import rows, schema
from edgeloop.store.artifacts import disk_errors
from edgeloop.store.database import Database

if TYPE_CHECKING:
    from edgeloop.store.overview import Overview
    from edgeloop.store.queue import QueueStore

__all__ = ["ExperimentSummary", "RecordStore", "RecordedDecision", "summary_of"]

_NOISE_ROWS_MAX = 200
"""Enough for a quantile; every comparison asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentSummary:
    """One experiment in a list."""

    experiment_id: str
    #: Seconds since 1970.
    created_wall_s: float
    #: "running" (or given up half way) or "finished".
    status: str
    #: File name or import path of the model.
    model: str
    #: Name of the data.
    data: str
    #: Names of the devices, as asked for.
    devices: tuple[str, ...]
    #: Runs recorded so far, failed ones included.
    run_count: int
    #: Device name -> latest decision, its candidate behind a colon where there is one.
    decisions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """One decision in the history of an experiment."""

    #: Seconds since 1970.
    decided_wall_s: float
    #: Constraints it was taken under, as text.
    require: tuple[str, ...]
    #: Preference it was taken under.
    prefer: str
    strategy: Strategy


class RecordStore:
    """Everything that experiments left behind; synchronous, to be called through ``asyncio.to_thread``."""

    def __init__(self, database: Database, samples: Path, fs: FileSystem | None = None) -> None:
        self._database = database
        self._samples = samples
        self._fs = fs or OsFileSystem()

    @classmethod
    def open(cls, url: str | Path) -> RecordStore:
        """Open or create the store; raw samples go to the directory "samples" beside the file.

        Args:
            url: path of the SQLite file, or ``sqlite:///PATH``.

        Raises:
            UnsupportedError: another kind of database, or one that a newer edgeloop wrote.
            CorruptDataError: the file is not a database.
            BusyError: another process holds it, or the disk is full.
        """
        text = str(url)
        scheme, separator, rest = text.partition("://")
        if separator and scheme != "sqlite":
            raise UnsupportedError(
                f"records are kept in SQLite, not in {scheme!r}.", next_step="Give a path or sqlite:///PATH."
            )
        path = Path(rest.removeprefix("/") if separator else text).absolute()
        return cls(Database(path, schema.MIGRATIONS), path.parent / "samples")

    def close(self) -> None:
        """Close the file; the object is not used afterwards."""
        self._database.close()

    def overview(self) -> Overview:
        """Return the lists and counts over these records."""
        from edgeloop.store.overview import Overview

        return Overview(self._database)

    def queue(self) -> QueueStore:
        """Return the experiments that wait here."""
        from edgeloop.store.queue import QueueStore

        return QueueStore(self._database)

    def is_finished(self, experiment_id: str) -> bool:
        """Return whether an experiment of that identifier has ended with a result."""
        with self._database.reading() as connection:
            row = _experiment(connection, experiment_id)
        return row is not None and row["status"] == rows.FINISHED

    def begin(
        self,
        request: ExperimentRequest,
        experiment_id: str,
        model: ModelDescription,
        data: DataSummary,
        created_wall_s: float,
    ) -> None:
        """Write down that an experiment begins, so that its runs have a home even if it never ends.

        Raises:
            StateError: there is an experiment of that name.
            BusyError: no disk space, or the file is locked.
        """
        with self._database.writing() as connection:
            if _experiment(connection, experiment_id) is not None:
                raise StateError(f"experiment {experiment_id} was recorded before.")
            row = rows.experiment_row(request, experiment_id, model, data, created_wall_s)
            connection.execute(schema.experiments.insert().values(row))

    def ingest(self, spooled: SpooledRun, device: str) -> bool:
        """Append a run that came from a device; durable when this returns, and only then to be acknowledged.

        Args:
            spooled: the run with its place in the device's spool.
            device: the device's name in the experiment.

        Returns:
            False when this very run is known already; it is not stored twice.

        Raises:
            CorruptDataError: another run was recorded under the same identifier or place, or it says that it is
                third-party.
            BusyError: no disk space, or the file is locked.
        """
        if spooled.run.source is Source.THIRD_PARTY:
            raise CorruptDataError(
                f"device {device!r} sent a run that says it is third-party; such rows are imported, never sent."
            )
        row = rows.run_row(spooled.run, device, spooled.epoch, spooled.sequence)
        with self._database.writing() as connection:
            return _append_run(connection, row)

    def put_samples(self, digest: str, data: bytes) -> None:
        """Keep raw samples under their SHA-256.

        Raises:
            CorruptDataError: the bytes have another digest.
            BusyError: the disk is full.
        """
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise CorruptDataError(f"samples have the digest {found[:12]}, announced was {digest[:12]}.")
        path = self._samples / digest
        with disk_errors("raw samples"):
            if not self._fs.exists(path):
                make_durable_directory(self._fs, self._samples)
                write_durably(self._fs, path, data)

    def samples(self, digest: str) -> bytes | None:
        """Return raw samples (little-endian int64 nanoseconds); None when they are not kept here.

        Raises:
            CorruptDataError: what is kept has another digest.
        """
        path = self._samples / digest
        if not digest.isalnum() or not self._fs.exists(path):
            return None
        data = self._fs.read(path)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptDataError(f"{path} does not hold the samples it is named by.")
        return data

    def finish(self, result: ExperimentResult) -> None:
        """Write down how an experiment ended, in one transaction; runs that are not known yet are appended.

        Raises:
            StateError: it was finished before.
            CorruptDataError: one of its runs contradicts the one recorded.
            BusyError: no disk space, or the file is locked.
        """
        name = result.experiment_id
        with self._database.writing() as connection:
            _finish_experiment(connection, result)
            _insert_all(connection, schema.candidates, rows.candidate_rows(result))
            for position, device in enumerate(result.devices):
                for run in device.runs:
                    _append_run(connection, rows.run_row(run, device.device.name, None, None))
                connection.execute(
                    schema.device_results.insert().values(rows.device_row(name, position, device))
                )
                if device.strategy is not None:
                    ended = result.created_wall_s + result.duration_s
                    row = rows.decision_row(
                        name, device.strategy, result.request.require, result.request.prefer, ended
                    )
                    connection.execute(schema.decisions.insert().values(row))

    def add_decision(
        self,
        experiment_id: str,
        strategy: Strategy,
        require: Sequence[str],
        prefer: str,
        decided_wall_s: float,
    ) -> None:
        """Append a decision taken anew from the same records, for example under other constraints.

        Raises:
            NotFoundError: no such experiment.
            BusyError: no disk space, or the file is locked.
        """
        with self._database.writing() as connection:
            found = _resolve(connection, experiment_id)["id"]
            row = rows.decision_row(found, strategy, require, prefer, decided_wall_s)
            connection.execute(schema.decisions.insert().values(row))

    def decisions(self, experiment_id: str) -> tuple[RecordedDecision, ...]:
        """Return every decision of an experiment, oldest first.

        Raises:
            NotFoundError: no such experiment.
        """
        table = schema.decisions
        with self._database.reading() as connection:
            found = _resolve(connection, experiment_id)["id"]
            query = select(table).where(table.c.experiment_id == found).order_by(table.c.id)
            found_rows = connection.execute(query).mappings().all()
        return tuple(
            RecordedDecision(
                decided_wall_s=row["decided_wall_s"],
                require=tuple(json.loads(row["require"])),
                prefer=row["prefer"],
                strategy=from_json(row["record"], Strategy),
            )
            for row in found_rows
        )

    def result(self, experiment_id: str = "latest") -> ExperimentResult:
        """Return an experiment as it ended.

        Args:
            experiment_id: its identifier, the beginning of it where that is unique, or "latest" for the
                newest one that ended.

        Raises:
            NotFoundError: no such experiment.
            StateError: it never ended.
        """
        with self._database.reading() as connection:
            row = _resolve(connection, experiment_id)
            if row["status"] != rows.FINISHED:
                count = _run_count(connection, row["id"])
                raise StateError(
                    f"experiment {row['id']} never ended; {count} runs are recorded.",
                    next_step="Run it again.",
                )
            found = _of_experiment(connection, schema.candidates, row["id"])
            devices = [
                _device(connection, d) for d in _of_experiment(connection, schema.device_results, row["id"])
            ]
        return ExperimentResult(
            experiment_id=row["id"],
            created_wall_s=row["created_wall_s"],
            duration_s=row["duration_s"],
            edgeloop_version=row["edgeloop_version"],
            request=from_json(row["request"], ExperimentRequest),
            model=from_json(row["model"], ModelDescription),
            data=from_json(row["data"], DataSummary),
            candidates=tuple(from_json(c["record"], Candidate) for c in found),
            skipped=tuple(from_json(s, Skipped) for s in json.loads(row["skipped"])),
            devices=tuple(devices),
        )

    def experiments(self) -> tuple[ExperimentSummary, ...]:
        """Return every experiment, newest first."""
        runs, table = schema.runs, schema.experiments
        counted = select(runs.c.experiment_id, func.count()).group_by(runs.c.experiment_id)
        latest = select(func.max(schema.decisions.c.id)).group_by(
            schema.decisions.c.experiment_id, schema.decisions.c.device
        )
        decided = schema.decisions.select().where(schema.decisions.c.id.in_(latest)).order_by("id")
        with self._database.reading() as connection:
            newest = table.select().order_by(table.c.created_wall_s.desc())
            listed = connection.execute(newest).mappings().all()
            counts = {name: int(count) for name, count in connection.execute(counted)}
            answers: dict[str, list[tuple[str, str]]] = {}
            for row in connection.execute(decided).mappings():
                text = ": ".join(filter(None, (row["decision"], row["candidate"])))
                answers.setdefault(row["experiment_id"], []).append((row["device"], text))
        return tuple(summary_of(row, counts.get(row["id"], 0), answers.get(row["id"], ())) for row in listed)

    def runs(self, experiment_id: str) -> tuple[Run, ...]:
        """Return the runs of an experiment in the order they arrived, failed ones included.

        Runs of a single verb or of a test session have no experiment; they are found by their whole identifier.

        Raises:
            NotFoundError: no such experiment.
        """
        with self._database.reading() as connection:
            records = _run_records(connection, experiment_id)
            if not records:
                records = _run_records(connection, _resolve(connection, experiment_id)["id"])
        return tuple(from_json(record, Run) for record in records)

    def run(self, run_id: str) -> Run:
        """Return one run.

        Raises:
            NotFoundError: no such run.
        """
        query = select(schema.runs.c.record).where(schema.runs.c.run_id == run_id)
        with self._database.reading() as connection:
            record = connection.execute(query).scalar_one_or_none()
        if record is None:
            raise NotFoundError(f"no run {run_id!r} is recorded.")
        return from_json(record, Run)

    def last_run(self, device: str) -> Run | None:
        """Return the run of a device that arrived last, by the device's name; None before the first."""
        table = schema.runs
        query = select(table.c.record).where(table.c.device == device).order_by(table.c.id.desc()).limit(1)
        with self._database.reading() as connection:
            record = connection.execute(query).scalar_one_or_none()
        return None if record is None else from_json(record, Run)

    def measured_runs(self, device_id: str, artifact_digests: Collection[str]) -> tuple[Run, ...]:
        """Return the measured, successful runs of these artifacts on a device, newest first."""
        table = schema.runs
        query = (
            select(table.c.record)
            .where(table.c.device_id == device_id, table.c.artifact_digest.in_(artifact_digests))
            .where(table.c.source == Source.MEASURED.value, table.c.outcome == Outcome.SUCCESS.value)
            .order_by(table.c.id.desc())
        )
        with self._database.reading() as connection:
            records = connection.execute(query).scalars().all()
        return tuple(from_json(record, Run) for record in records)

    def add_comparison(self, comparison: Comparison) -> None:
        """Append a comparison that was measured.

        Raises:
            InternalError: it never was.
            BusyError: no disk space, or the file is locked.
        """
        row = rows.comparison_row(comparison)
        with self._database.writing() as connection:
            connection.execute(schema.comparisons.insert().values(row))

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return every comparison, oldest first."""
        table = schema.comparisons
        with self._database.reading() as connection:
            records = connection.execute(select(table.c.record).order_by(table.c.id)).scalars().all()
        return tuple(from_json(record, Comparison) for record in records)

    def noise_of(self, key: ComparisonKey, boot_id: str, since_wall_s: float) -> tuple[Comparison, ...]:
        """Return the A/A comparisons of that key that have a ratio of the medians, newest first, at most 200.

        Args:
            key: what has to be equal.
            boot_id: the device's boot; another boot is another placement of everything in memory.
            since_wall_s: older ones do not count.
        """
        table = schema.comparisons
        query = (
            select(table.c.record)
            .where(table.c.device_id == key.device_id, table.c.same == 1, table.c.boot_id == boot_id)
            .where(table.c.runtime == key.runtime, table.c.threads == key.threads)
            .where(table.c.protocol == key.protocol, table.c.p50_ratio.is_not(None))
            .where(table.c.measured_wall_s >= since_wall_s)
            .order_by(table.c.id.desc())
            .limit(_NOISE_ROWS_MAX)
        )
        with self._database.reading() as connection:
            records = connection.execute(query).scalars().all()
        return tuple(from_json(record, Comparison) for record in records)


def _run_records(connection: Connection, experiment_id: str) -> Sequence[str]:
    table = schema.runs
    query = select(table.c.record).where(table.c.experiment_id == experiment_id).order_by(table.c.id)
    return connection.execute(query).scalars().all()


def _append_run(connection: Connection, row: Mapping[str, Any]) -> bool:
    table = schema.runs
    taken = table.c.run_id == row["run_id"]
    if row["epoch"] is not None:
        taken |= (
            (table.c.device_id == row["device_id"])
            & (table.c.epoch == row["epoch"])
            & (table.c.sequence == row["sequence"])
        )
    query = select(table.c.run_id, table.c.record).where(taken)
    known = connection.execute(query).first()
    if known is None:
        connection.execute(table.insert().values(row))
        return True
    if known.run_id != row["run_id"] or not _same(known.record, row["record"]):
        raise CorruptDataError(
            f"device {row['device']!r} sent run {row['run_id']} (sequence {row['sequence']}), "
            f"but run {known.run_id} with other content is recorded in its place.",
            next_step="Two devices may share one identifier: check for a copied disk image.",
        )
    return False


def _same(recorded: str, sent: str) -> bool:
    """Whether two records say the same, even if an older edgeloop wrote one of them without a later field."""
    return recorded == sent or rows.text(from_json(recorded, Run)) == sent


def _finish_experiment(connection: Connection, result: ExperimentResult) -> None:
    table = schema.experiments
    known = _experiment(connection, result.experiment_id)
    if known is not None and known["status"] == rows.FINISHED:
        raise StateError(f"experiment {result.experiment_id} was finished before.")
    row = rows.experiment_row(
        result.request, result.experiment_id, result.model, result.data, result.created_wall_s
    ) | {
        "status": rows.FINISHED,
        "duration_s": result.duration_s,
        "edgeloop_version": result.edgeloop_version,
        "skipped": rows.text([to_json(s) for s in result.skipped]),
    }
    if known is None:
        connection.execute(table.insert().values(row))
    else:
        connection.execute(table.update().where(table.c.id == result.experiment_id).values(row))


def _insert_all(connection: Connection, table: Table, several: list[dict[str, Any]]) -> None:
    if several:
        connection.execute(table.insert(), several)


def _experiment(connection: Connection, experiment_id: str) -> RowMapping | None:
    query = schema.experiments.select().where(schema.experiments.c.id == experiment_id)
    return connection.execute(query).mappings().first()


def _resolve(connection: Connection, text: str) -> RowMapping:
    """Return the row of an experiment by identifier, by its beginning, or the latest one that ended."""
    table = schema.experiments
    newest = table.select().order_by(table.c.created_wall_s.desc(), table.c.id)
    if text == "latest":
        found = connection.execute(newest.where(table.c.status == rows.FINISHED).limit(1)).mappings().all()
    else:
        exact = _experiment(connection, text)
        if exact is not None:
            return exact
        matching = newest.where(table.c.id.startswith(text, autoescape=True)).limit(5)
        found = connection.execute(matching).mappings().all() if text else []
    if len(found) == 1:
        return found[0]
    listed = found or connection.execute(newest.limit(5)).mappings().all()
    names = ", ".join(row["id"] for row in listed) or "none yet"
    what = f"several experiments begin with {text!r}" if found else f"no experiment {text!r} is recorded"
    raise NotFoundError(f"{what}.", next_step=f"There are: {names}.")


def _run_count(connection: Connection, experiment_id: str) -> int:
    query = select(func.count()).where(schema.runs.c.experiment_id == experiment_id)
    return int(connection.execute(query).scalar_one())


def _of_experiment(connection: Connection, table: Table, experiment_id: str) -> Sequence[RowMapping]:
    query = table.select().where(table.c.experiment_id == experiment_id).order_by(table.c.position)
    return connection.execute(query).mappings().all()


def _device(connection: Connection, row: RowMapping) -> DeviceResult:
    wanted = json.loads(row["run_ids"])
    table = schema.runs
    records: dict[str, str] = {}
    for start in range(0, len(wanted), 500):
        query = select(table.c.run_id, table.c.record).where(table.c.run_id.in_(wanted[start : start + 500]))
        records.update((found.run_id, found.record) for found in connection.execute(query))
    runs = tuple(from_json(records[run_id], Run) for run_id in wanted)
    return _consistent(replace(from_json(row["record"], DeviceResult), runs=runs))


def _consistent(device: DeviceResult) -> DeviceResult:
    """Refuse evidence that calls its run's figures something else than the run does."""
    sources = {run.run_id: run.source for run in device.runs}
    for evidence in device.evidence:
        if evidence.run_id in sources and evidence.source is not sources[evidence.run_id]:
            raise CorruptDataError(
                f"the evidence of {evidence.candidate} on {device.device.name} says "
                f"{evidence.source.value if evidence.source else 'nothing'}, its run says "
                f"{sources[evidence.run_id].value}.",
                next_step="Somebody edited the record store by hand; take it from a backup.",
            )
    return device


def summary_of(row: RowMapping, run_count: int, decisions: Iterable[tuple[str, str]]) -> ExperimentSummary:
    """Return the line that an experiment has in a list."""
    request = from_json(row["request"], ExperimentRequest)
    return ExperimentSummary(
        experiment_id=row["id"],
        created_wall_s=row["created_wall_s"],
        status=row["status"],
        model=row["model_name"],
        data=row["data_name"],
        devices=tuple(device.name for device in request.devices),
        run_count=run_count,
        decisions=tuple(decisions),
    )
