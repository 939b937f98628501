"""Records as a page of a list needs them: counted and cut by indexes, never read whole.

Law of this file: no query touches more rows than it returns, but for counts, and those stand in covering indexes.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from edgeloop_protocol.types.run import Outcome
from sqlalchemy import Connection, RowMapping, func, select

from edgeloop.store import schema
from edgeloop.store.database import Database
from edgeloop.store.records import ExperimentSummary, summary_of

__all__ = ["PAGE_ROWS_MAX", "ArtifactUse", "Overview", "RunRow"]

PAGE_ROWS_MAX = 200
"""Most rows of one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run in a list."""

    #: Rises with every run that is appended; what a next page begins below.
    number: int
    #: Identifier of the run.
    run_id: str
    #: Device, as the experiment named it.
    device: str
    #: Identifier of the experiment; empty for a run of a single verb.
    experiment_id: str
    #: Label of the candidate.
    candidate: str
    #: SHA-256 of the artifact's manifest.
    artifact_digest: str
    #: "measured", "simulated", "emulated" or "third_party".
    source: str
    #: "success", or how it ended else.
    outcome: str
    #: When it began, seconds since 1970.
    started_wall_s: float
    #: Median of the steady latency; absent when it was not measured.
    latency_p50_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactUse:
    """How often an artifact was run."""

    #: Runs of it, failed ones included.
    run_count: int = 0
    #: Those that did not succeed.
    error_count: int = 0
    #: When the last one began, seconds since 1970; absent before the first.
    last_wall_s: float | None = None


class Overview:
    """Lists and counts over the record store; synchronous, as the store is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counting = threading.Lock()
        self._counted: tuple[int, dict[tuple[str, str], int]] = (0, {})

    def experiments(
        self, *, limit: int = 50, before_wall_s: float | None = None
    ) -> tuple[ExperimentSummary, ...]:
        """Return a page of experiments, newest first.

        Args:
            limit: most rows, up to ``PAGE_ROWS_MAX``.
            before_wall_s: only those created before this time, for the next page.
        """
        table = schema.experiments
        query = table.select().order_by(table.c.created_wall_s.desc(), table.c.id).limit(_bounded(limit))
        if before_wall_s is not None:
            query = query.where(table.c.created_wall_s < before_wall_s)
        with self._database.reading() as connection:
            listed = connection.execute(query).mappings().all()
            names = [row["id"] for row in listed]
            counts, answers = _run_counts(connection, names), _decisions(connection, names)
        return tuple(summary_of(row, counts.get(row["id"], 0), answers.get(row["id"], ())) for row in listed)

    def runs(
        self,
        *,
        device: str = "",
        experiment: str = "",
        artifact: str = "",
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[RunRow, ...]:
        """Return a page of runs, the last one appended first.

        Args:
            device: only runs of the device of this name.
            experiment: only runs of this experiment, by its whole identifier.
            artifact: only runs of this artifact, by its whole digest.
            before: only runs with a lower number, for the next page.
            limit: most rows, up to ``PAGE_ROWS_MAX``.
        """
        table = schema.runs
        query = select(table).order_by(table.c.id.desc()).limit(_bounded(limit))
        for column, wanted in (
            (table.c.device, device),
            (table.c.experiment_id, experiment),
            (table.c.artifact_digest, artifact),
        ):
            query = query.where(column == wanted) if wanted else query
        if before is not None:
            query = query.where(table.c.id < before)
        with self._database.reading() as connection:
            return tuple(_run_row(row) for row in connection.execute(query).mappings())

    def run_counts(self) -> dict[tuple[str, str], int]:
        """Return how many runs there are of each source and outcome.

        Runs are never changed or removed: the first call counts all of them, a later one those that came since.
        """
        table = schema.runs
        with self._counting, self._database.reading() as connection:
            last, counts = self._counted
            newest = connection.execute(select(func.max(table.c.id))).scalar_one() or 0
            found = Counter(counts)
            if last:
                # Counted here: grouped by SQLite, they would be looked for in the whole index of outcomes.
                since = select(table.c.source, table.c.outcome).where(table.c.id > last)
                found.update((str(source), str(outcome)) for source, outcome in connection.execute(since))
            else:
                both = (table.c.source, table.c.outcome)
                for source, outcome, count in connection.execute(select(*both, func.count()).group_by(*both)):
                    found[str(source), str(outcome)] = int(count)
            self._counted = (newest, dict(found))
        return dict(found)

    def use(self, digests: Collection[str]) -> dict[str, ArtifactUse]:
        """Return how often each of these artifacts was run; one that never was is left out."""
        table = schema.runs
        found: dict[str, ArtifactUse] = {}
        with self._database.reading() as connection:
            for digest in digests:
                query = (
                    select(table.c.outcome, func.count(), func.max(table.c.started_wall_s))
                    .where(table.c.artifact_digest == digest)
                    .group_by(table.c.outcome)
                )
                rows = connection.execute(query).all()
                if rows:
                    found[digest] = _use_of([(str(o), int(n), float(last)) for o, n, last in rows])
        return found

    def model_names(self) -> dict[str, str]:
        """Return the name of each model that an experiment was made with, the latest one, by the model's digest."""
        table = schema.experiments
        query = select(table.c.model_digest, table.c.model_name).order_by(table.c.created_wall_s)
        with self._database.reading() as connection:
            return {str(row.model_digest): str(row.model_name) for row in connection.execute(query)}


def _bounded(limit: int) -> int:
    return max(1, min(limit, PAGE_ROWS_MAX))


def _use_of(rows: list[tuple[str, int, float]]) -> ArtifactUse:
    return ArtifactUse(
        run_count=sum(count for _, count, _ in rows),
        error_count=sum(count for outcome, count, _ in rows if outcome != Outcome.SUCCESS.value),
        last_wall_s=max(last for _, _, last in rows),
    )


def _run_counts(connection: Connection, names: list[str]) -> dict[str, int]:
    column = schema.runs.c.experiment_id
    query = select(column, func.count()).where(column.in_(names)).group_by(column)
    return {name: int(count) for name, count in connection.execute(query)}


def _decisions(connection: Connection, names: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the latest decision of every device, by experiment."""
    table = schema.decisions
    latest = (
        select(func.max(table.c.id))
        .where(table.c.experiment_id.in_(names))
        .group_by(table.c.experiment_id, table.c.device)
    )
    answers: dict[str, list[tuple[str, str]]] = {}
    for row in connection.execute(table.select().where(table.c.id.in_(latest)).order_by("id")).mappings():
        text = ": ".join(filter(None, (row["decision"], row["candidate"])))
        answers.setdefault(row["experiment_id"], []).append((row["device"], text))
    return answers


def _run_row(row: RowMapping) -> RunRow:
    return RunRow(
        number=row["id"],
        run_id=row["run_id"],
        device=row["device"],
        experiment_id=row["experiment_id"],
        candidate=row["candidate"],
        artifact_digest=row["artifact_digest"],
        source=row["source"],
        outcome=row["outcome"],
        started_wall_s=row["started_wall_s"],
        latency_p50_s=_p50(row["record"]),
    )


def _p50(record: str) -> float | None:
    """Return the median that a record holds, without building the whole value."""
    tree: Any = json.loads(record)
    for key in ("timing", "steady", "p50", "value"):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return float(tree) if isinstance(tree, int | float) else None
