"""Tables of the record store and the steps that lead to them.

Portable types only, so that another engine can follow; what is SQLite's own stands in ``APPEND_ONLY``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "MIGRATIONS",
    "Migration",
    "candidates",
    "comparisons",
    "decisions",
    "device_results",
    "experiments",
    "queue",
    "runs",
]

METADATA = MetaData()

experiments = Table(
    "experiments",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("created_wall_s", Float, nullable=False, index=True),
    Column("status", String(16), nullable=False),
    Column("duration_s", Float),
    Column("edgeloop_version", String(32), nullable=False, default=""),
    Column("model_name", String(255), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("data_name", String(255), nullable=False),
    Column("request", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("skipped", Text, nullable=False, default="[]"),
)
"""One row an experiment; JSON columns hold the values whole, the others are for finding it."""

candidates = Table(
    "candidates",
    METADATA,
    Column("experiment_id", String(64), ForeignKey("experiments.id"), primary_key=True),
    Column("label", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("artifact_digest", String(64), nullable=False),
    Column("record", Text, nullable=False),
)
"""One row a candidate of an experiment, in the experiment's order."""

runs = Table(
    "runs",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(64), nullable=False, unique=True),
    Column("device", String(255), nullable=False),
    Column("device_id", String(128), nullable=False),
    Column("epoch", String(64)),
    Column("sequence", Integer),
    Column("experiment_id", String(64), nullable=False),
    Column("artifact_digest", String(64), nullable=False, index=True),
    Column("candidate", String(255), nullable=False),
    Column("source", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("started_wall_s", Float, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("device_id", "epoch", "sequence", name="runs_place_in_spool"),
    Index("runs_of_experiment", "experiment_id", "id"),
    Index("runs_of_device", "device_id", "started_wall_s"),
    Index("runs_by_name_of_device", "device", "id"),
    Index("runs_by_outcome", "source", "outcome"),
    Index("runs_of_artifact", "artifact_digest", "outcome", "started_wall_s"),
)
"""One row a run, whatever its outcome. No foreign key: kept even when its experiment is unknown here."""

device_results = Table(
    "device_results",
    METADATA,
    Column("experiment_id", String(64), ForeignKey("experiments.id"), primary_key=True),
    Column("device", String(255), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("device_id", String(128), nullable=False),
    Column("run_ids", Text, nullable=False),
    Column("record", Text, nullable=False),
)
"""What came back from one device, without its runs: those are in ``runs``."""

decisions = Table(
    "decisions",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("experiment_id", String(64), ForeignKey("experiments.id"), nullable=False, index=True),
    Column("device", String(255), nullable=False),
    Column("decided_wall_s", Float, nullable=False),
    Column("decision", String(32), nullable=False),
    Column("candidate", String(255), nullable=False),
    Column("require", Text, nullable=False),
    Column("prefer", String(255), nullable=False),
    Column("record", Text, nullable=False),
)
"""Every decision ever taken, the later ones from the same records under other constraints."""

comparisons = Table(
    "comparisons",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device_id", String(128), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("runtime", String(128), nullable=False),
    Column("threads", Integer, nullable=False),
    Column("protocol", String(255), nullable=False),
    Column("same", Integer, nullable=False),
    Column("source", String(16), nullable=False),
    Column("measured_wall_s", Float, nullable=False),
    Column("p50_ratio", Float),
    Column("record", Text, nullable=False),
    Index("comparisons_of_device", "device_id", "same", "measured_wall_s"),
)
"""One row a comparison of two artifacts; those of one artifact with itself are the device's noise."""

queue = Table(
    "queue",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("queue_id", String(64), nullable=False, unique=True),
    Column("submitted_by", String(255), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_wall_s", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("submission", Text, nullable=False),
    Column("attempt_count", Integer, nullable=False, default=0),
    Column("experiment_id", String(64), nullable=False, default=""),
    Column("started_wall_s", Float),
    Column("ended_wall_s", Float),
    Column("reason", Text, nullable=False, default=""),
    Column("error_kind", String(64), nullable=False, default=""),
    Index("queue_in_turn", "state", "priority", "number"),
    sqlite_autoincrement=True,
)
"""One row an experiment that was handed in from afar. No foreign key: it stands before its experiment begins."""

APPEND_ONLY = """
CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are appended, never changed or removed'); END
"""

RUN_ROWS = """
CREATE TRIGGER runs_say_one_thing BEFORE INSERT ON runs
BEGIN
  SELECT RAISE(ABORT, 'runs are appended, never replaced')
  WHERE EXISTS (SELECT 1 FROM runs WHERE run_id = NEW.run_id OR id = NEW.id
    OR (device_id = NEW.device_id AND epoch = NEW.epoch AND sequence = NEW.sequence));
  SELECT RAISE(ABORT, 'the source of a run is the one in its record')
  WHERE instr(NEW.record, '{"run_id":"' || NEW.run_id || '","source":"' || NEW.source || '",') <> 1;
  SELECT RAISE(ABORT, 'third-party rows are imported, no device sends them')
  WHERE NEW.source = 'third_party' AND NEW.epoch IS NOT NULL;
END
"""
"""SQLite's REPLACE fires no trigger of deletion, so that it has to be refused where the row comes in. The record is
compared as text: older SQLite holds its JSON functions for unsafe in a trigger."""

FINISHED_ONLY_ONCE = """
CREATE TRIGGER experiments_end_once BEFORE UPDATE ON experiments WHEN OLD.status = 'finished'
BEGIN SELECT RAISE(ABORT, 'a finished experiment is never changed'); END
"""

Migration = Callable[[Connection], None]
"""One step from a schema version to the next, within a transaction."""


def _append_only(connection: Connection, *tables: str) -> None:
    for table in tables:
        for verb in ("update", "delete"):
            connection.exec_driver_sql(APPEND_ONLY.format(table=table, verb=verb))


def _first(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[experiments, candidates, runs, device_results, decisions])
    _append_only(connection, "runs", "decisions")


def _comparisons(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[comparisons])
    _append_only(connection, "comparisons")


def _kinds_stay_apart(connection: Connection) -> None:
    """What a decision rests on is as lasting as the runs: no edit turns one kind of figure into another."""
    _append_only(connection, "candidates", "device_results")
    connection.exec_driver_sql(APPEND_ONLY.format(table="experiments", verb="delete"))
    connection.exec_driver_sql(FINISHED_ONLY_ONCE)
    connection.exec_driver_sql(RUN_ROWS)


def _listed_by_index(connection: Connection) -> None:
    """Lists and counts of a million runs are read from indexes; new files have them from the first step on."""
    for index in sorted(runs.indexes, key=lambda one: str(one.name)):
        index.create(connection, checkfirst=True)


def _queue(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[queue])


MIGRATIONS: Sequence[Migration] = (_first, _comparisons, _kinds_stay_apart, _listed_by_index, _queue)
"""Step N leads from version N to N + 1; released steps are never edited, new ones are appended."""
