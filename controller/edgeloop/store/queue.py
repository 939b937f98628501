"""The queue of experiments: one row each, changed in one transaction, so that a killed controller finds it again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgeloop_foundation.errors import AlreadyExistsError, NotFoundError
from edgeloop_protocol.convert import from_json
from sqlalchemy import Connection, RowMapping, select

from edgeloop.domain.plain_text import plain_text
from edgeloop.domain.queue import QueuedExperiment, QueueEvent, QueueState, Submission, next_state
from edgeloop.store import rows, schema
from edgeloop.store.database import Database

__all__ = ["QueueStore"]


class QueueStore:
    """The table ``queue``; synchronous, as the records beside it are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, queue_id: str, submission: Submission, *, submitted_by: str, now_s: float
    ) -> QueuedExperiment:
        """Append an experiment; the same one under the same identifier is appended once.

        Raises:
            AlreadyExistsError: another one has the identifier.
            BusyError: no disk space, or the file is locked.
        """
        text = rows.text(submission)
        table = schema.queue
        with self._database.writing() as connection:
            known = connection.execute(table.select().where(table.c.queue_id == queue_id)).mappings().first()
            if known is not None and known["submission"] != text:
                raise AlreadyExistsError(
                    f"another experiment was handed in as {queue_id}.",
                    next_step="Hand it in without an identifier.",
                )
            if known is None:
                connection.execute(
                    table.insert().values(
                        queue_id=queue_id, submitted_by=submitted_by[:255], priority=submission.priority,
                        created_wall_s=now_s, state=QueueState.QUEUED.value, submission=text,
                    )
                )  # fmt: skip
            return _entry(_row(connection, queue_id))

    def get(self, word: str) -> QueuedExperiment:
        """Return an experiment by its identifier or the beginning of it, or by that of its latest attempt.

        Raises:
            NotFoundError: there is none, or several.
        """
        with self._database.reading() as connection:
            return _entry(_row(connection, word))

    def all(self, *, states: Collection[QueueState] = (), limit: int = 200) -> tuple[QueuedExperiment, ...]:
        """Return experiments, the one handed in last first; of some states where these are named."""
        table = schema.queue
        query = select(table).order_by(table.c.number.desc()).limit(limit)
        if states:
            query = query.where(table.c.state.in_([state.value for state in states]))
        with self._database.reading() as connection:
            found = connection.execute(query).mappings().all()
        return tuple(_entry(row) for row in found)

    def first_queued(self) -> QueuedExperiment | None:
        """Return whose turn it is: of the highest priority the one that came first; None for nobody."""
        table = schema.queue
        query = (
            select(table)
            .where(table.c.state == QueueState.QUEUED.value)
            .order_by(table.c.priority.desc(), table.c.number)
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _entry(row)

    def begin(self, queue_id: str, experiment_id: str, now_s: float) -> QueuedExperiment:
        """Write down that an attempt begins, before anything is done.

        Raises:
            StateError: it is not queued any more.
        """
        return self._move(
            queue_id, QueueEvent.BEGIN, "", experiment_id=experiment_id, started_wall_s=now_s, begun=True
        )

    def move(
        self,
        queue_id: str,
        event: QueueEvent,
        reason: str = "",
        *,
        ended_s: float | None = None,
        error_kind: str = "",
    ) -> QueuedExperiment:
        """Write down what happened to an experiment.

        Raises:
            NotFoundError: there is none.
            StateError: that cannot happen now.
        """
        return self._move(queue_id, event, reason, ended_wall_s=ended_s, error_kind=error_kind)

    def _move(
        self, queue_id: str, event: QueueEvent, reason: str, *, begun: bool = False, **values: Any
    ) -> QueuedExperiment:
        table = schema.queue
        with self._database.writing() as connection:
            row = _row(connection, queue_id)
            values |= {"state": next_state(QueueState(row["state"]), event).value, "reason": reason}
            values["attempt_count"] = row["attempt_count"] + begun
            connection.execute(table.update().where(table.c.number == row["number"]).values(values))
            return _entry(_row(connection, row["queue_id"]))


def _row(connection: Connection, word: str) -> RowMapping:
    table = schema.queue
    for match in (
        table.c.queue_id == word,
        table.c.experiment_id == word,
        table.c.queue_id.startswith(word, autoescape=True),
    ):
        query = table.select().where(match).order_by(table.c.number.desc()).limit(2)
        found = connection.execute(query).mappings().all() if word else []
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFoundError(
                f"several experiments of the queue begin with {plain_text(word, 64)!r}.",
                next_step="Name more of the identifier.",
            )
    raise NotFoundError(
        f"no experiment {plain_text(word, 64)!r} is in the queue.",
        next_step="List them: edgeloop queue list.",
    )


def _entry(row: RowMapping) -> QueuedExperiment:
    return QueuedExperiment(
        queue_id=row["queue_id"],
        number=row["number"],
        submitted_by=row["submitted_by"],
        created_wall_s=row["created_wall_s"],
        state=QueueState(row["state"]),
        submission=from_json(row["submission"], Submission),
        attempt_count=row["attempt_count"],
        experiment_id=row["experiment_id"],
        started_wall_s=row["started_wall_s"],
        ended_wall_s=row["ended_wall_s"],
        reason=row["reason"],
        error_kind=row["error_kind"],
    )
