"""Alerts as they stand, and the baselines that the rule of latency learned."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, delete, insert, select, update

from edgeloop.domain.alert import Alert, AlertState, Rule
from edgeloop.store import telemetry_schema as schema
from edgeloop.store.database import Database

__all__ = ["AlertStore"]


class AlertStore:
    """Two tables in the file of the telemetry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_alerts(self, device: str = "") -> tuple[Alert, ...]:
        """Return the alerts that are open, of one device if it is named, the newest first."""
        table = schema.alerts
        query = select(table).where(table.c.state == AlertState.OPEN.value)
        if device:
            query = query.where(table.c.device == device)
        with self._database.reading() as connection:
            rows = (
                connection.execute(query.order_by(table.c.opened_s.desc(), table.c.id.desc()))
                .mappings()
                .all()
            )
        return tuple(map(_alert, rows))

    def untold(self) -> tuple[Alert, ...]:
        """Return the alerts whose present state nobody was told, the oldest first."""
        table = schema.alerts
        with self._database.reading() as connection:
            rows = (
                connection.execute(select(table).where(table.c.told == 0).order_by(table.c.id))
                .mappings()
                .all()
            )
        return tuple(map(_alert, rows))

    def history(self, limit: int = 100) -> tuple[Alert, ...]:
        """Return the latest alerts, open and resolved, the newest first."""
        table = schema.alerts
        query = select(table).order_by(table.c.opened_s.desc(), table.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(map(_alert, rows))

    def keep(self, alert: Alert) -> Alert:
        """Write how an alert stands and return it with its number; a second open one of the same kind is refused."""
        table = schema.alerts
        with self._database.writing() as connection:
            if alert.alert_id:
                connection.execute(update(table).where(table.c.id == alert.alert_id).values(**_row(alert)))
                return alert
            same = select(table).where(
                table.c.state == AlertState.OPEN.value,
                table.c.rule == alert.rule.value,
                table.c.device == alert.device,
                table.c.subject == alert.subject,
            )
            # Another process may have opened it while this one looked.
            if (found := connection.execute(same).mappings().first()) is not None:
                return _alert(found)
            number = connection.execute(insert(table).values(**_row(alert))).inserted_primary_key
            kept = connection.execute(select(table).where(table.c.id == (number or (0,))[0])).mappings().one()
        return _alert(kept)

    def forget(self, before_s: float) -> None:
        """Remove alerts that were resolved before a time."""
        table = schema.alerts
        with self._database.writing() as connection:
            connection.execute(delete(table).where(table.c.resolved_s < before_s))

    def baseline(self, device: str, model: str, digest: str) -> float | None:
        """Return the median latency in seconds that a version had when it was new on a device; absent before."""
        table = schema.baselines
        query = select(table.c.latency_s).where(
            table.c.device == device, table.c.model == model, table.c.digest == digest
        )
        with self._database.reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else float(found)

    def learn_baseline(
        self, device: str, model: str, digest: str, *, latency_s: float, request_count: int, now_s: float
    ) -> None:
        """Keep the median latency of a version's first window; one that is there stays."""
        table = schema.baselines
        row = {"device": device, "model": model, "digest": digest}
        with self._database.writing() as connection:
            where = [table.c[name] == value for name, value in row.items()]
            if connection.execute(select(table.c.device).where(*where)).first() is None:
                connection.execute(
                    insert(table).values(
                        **row, latency_s=latency_s, request_count=request_count, learned_s=now_s
                    )
                )


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule.value,
        "device": alert.device,
        "subject": alert.subject,
        "state": alert.state.value,
        "message": alert.message,
        "opened_s": alert.opened_s,
        "seen_s": alert.seen_s,
        "clear_since_s": alert.clear_since_s,
        "resolved_s": alert.resolved_s,
        "told": int(alert.told),
    }


def _alert(row: RowMapping) -> Alert:
    return Alert(
        alert_id=row["id"],
        rule=Rule(row["rule"]),
        device=row["device"],
        subject=row["subject"],
        state=AlertState(row["state"]),
        message=row["message"],
        opened_s=row["opened_s"],
        seen_s=row["seen_s"],
        clear_since_s=row["clear_since_s"],
        resolved_s=row["resolved_s"],
        told=bool(row["told"]),
    )
