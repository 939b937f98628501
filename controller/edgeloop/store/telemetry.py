"""What devices noted about themselves: samples for a while, the newest one of each device, bytes by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.telemetry import TelemetrySample
from sqlalchemy import Connection, Integer, RowMapping, Table, cast, delete, func, insert, select, update

from edgeloop.domain.telemetry import (
    DAY_S,
    QUANTITIES,
    SERVED_QUANTITIES,
    Collected,
    DeviceTelemetry,
    Retention,
    Series,
    SeriesPoint,
    TelemetryBatch,
    Traffic,
)
from edgeloop.store import telemetry_schema as schema
from edgeloop.store.alerts import AlertStore
from edgeloop.store.database import Database
from edgeloop.store.telemetry_rows import packed, sample_row, served_row, unpacked

__all__ = ["TelemetryStore"]

# A clock that is off by less is taken as it is, so that the times of samples do not jitter with the network.
_CLOCK_TOLERANCE_S = 60.0
_TRIM_AT_ONCE = 500
_TRAFFIC_DAYS = 400


class TelemetryStore:
    """``telemetry.sqlite`` below the controller's home; synchronous, may be called by any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Alerts and the baselines that one rule learns.
        self.alerts = AlertStore(database)

    @classmethod
    def open(cls, path: Path) -> TelemetryStore:
        """Open or create the file.

        Raises:
            UnsupportedError: a newer edgeloop wrote it.
            CorruptDataError: it is not a database.
            BusyError: another process holds it, or the disk is full.
        """
        return cls(Database(path, schema.MIGRATIONS))

    def close(self) -> None:
        """Close the file; the object is not used afterwards."""
        self._database.close()

    def cursor(self, device: str) -> tuple[str, int]:
        """Return ring and number up to which a device was read; an empty text and 0 when it never was."""
        with self._database.reading() as connection:
            row = _device_row(connection, device)
        return (row["epoch"], row["last_sequence"]) if row is not None else ("", 0)

    def ingest(
        self, device: str, batch: TelemetryBatch, now_s: float, certificate_expires_s: float | None = None
    ) -> Collected:
        """Store what one reading brought; samples that are there already are passed over.

        Args:
            device: its name.
            batch: what came.
            now_s: controller's clock.
            certificate_expires_s: when the device's certificate runs out, if that is known.
        """
        (done,) = self.ingest_all([(device, batch, certificate_expires_s)], now_s)
        return done

    def ingest_all(
        self, readings: Sequence[tuple[str, TelemetryBatch | str, float | None]], now_s: float
    ) -> tuple[Collected, ...]:
        """Store what readings of several devices brought, in one transaction.

        Args:
            readings: name of each device, what came or why it did not answer, and when its certificate runs out.
            now_s: controller's clock.
        """
        with self._database.writing() as connection:
            return tuple(
                _note_silence(connection, device, found, now_s)
                if isinstance(found, str)
                else _ingest(connection, device, found, now_s, expires_s)
                for device, found, expires_s in readings
            )

    def note_silence(self, device: str, reason: str, now_s: float) -> Collected:
        """Take note that a device did not answer."""
        (done,) = self.ingest_all([(device, reason, None)], now_s)
        return done

    def devices(self) -> tuple[DeviceTelemetry, ...]:
        """Return what is known of every device, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(schema.devices).order_by(schema.devices.c.name)).mappings().all()
        return tuple(map(_device, rows))

    def device(self, name: str) -> DeviceTelemetry:
        """Return what is known of a device.

        Raises:
            NotFoundError: it was never asked.
        """
        with self._database.reading() as connection:
            row = _device_row(connection, name)
        if row is None:
            raise NotFoundError(
                f"nothing was collected from {name!r}.", next_step=f"edgeloop telemetry collect --on {name}"
            )
        return _device(row)

    def samples(
        self, device: str, since_s: float, until_s: float, *, served_only: bool = False
    ) -> tuple[tuple[float, TelemetrySample], ...]:
        """Return the samples of a window, each with its time, led by the last one before it where there is one.

        Args:
            device: its name.
            since_s: begin of the window.
            until_s: its end.
            served_only: whether samples of a device that serves nothing are left out.
        """
        table = schema.samples
        with self._database.reading() as connection:
            row = _device_row(connection, device)
            if row is None:
                return ()
            mine = select(table.c.at_s, table.c.record).where(table.c.device == row["id"])
            if served_only:
                mine = mine.where(table.c.served_count > 0)
            first = mine.where(table.c.at_s < since_s).order_by(table.c.at_s.desc()).limit(1)
            within = mine.where(table.c.at_s >= since_s, table.c.at_s <= until_s).order_by(table.c.at_s)
            found = [*connection.execute(first).all(), *connection.execute(within).all()]
        return tuple((at_s, unpacked(record)) for at_s, record in found)

    def served_models(self, device: str, since_s: float, until_s: float) -> tuple[str, ...]:
        """Return the deployments that a device served in a window, by name."""
        table = schema.served
        with self._database.reading() as connection:
            row = _device_row(connection, device)
            if row is None:
                return ()
            query = select(table.c.model).distinct().where(table.c.device == row["id"])
            query = query.where(table.c.at_s >= since_s, table.c.at_s <= until_s).order_by(table.c.model)
            return tuple(connection.execute(query).scalars())

    def series(
        self, device: str, quantity: str, since_s: float, until_s: float, step_s: float, *, model: str = ""
    ) -> Series:
        """Return one quantity over a window, put together in steps.

        Args:
            device: its name; one that was never asked has an empty series.
            quantity: one of ``QUANTITIES``, or of ``SERVED_QUANTITIES`` with a model.
            since_s: begin of the window, controller's clock.
            until_s: its end, which is not in it.
            step_s: length of a step.
            model: the served deployment; empty for a quantity of the device.

        Raises:
            InvalidInputError: there is no such quantity, or the window is no window.
        """
        table, units = (schema.served, SERVED_QUANTITIES) if model else (schema.samples, QUANTITIES)
        if quantity not in units:
            raise InvalidInputError(f"there is no series of {quantity[:80]!r}; known are {', '.join(units)}.")
        if not (step_s > 0 and until_s > since_s):
            raise InvalidInputError("a series has steps above 0 s and ends after it begins.")
        points: tuple[SeriesPoint, ...] = ()
        with self._database.reading() as connection:
            row = _device_row(connection, device)
            if row is not None:
                points = _points(connection, table, row["id"], quantity, (since_s, until_s, step_s), model)
        return Series(
            device=device, quantity=quantity, unit=units[quantity], step_s=step_s, model=model, points=points
        )

    def traffic(self, since_s: float) -> tuple[Traffic, ...]:
        """Return the bytes by device and day, for days that begin at or after the day of ``since_s``."""
        table, devices = schema.traffic, schema.devices
        query = (
            select(devices.c.name, table.c.day, table.c.received_bytes)
            .join(devices, devices.c.id == table.c.device)
            .where(table.c.day >= int(since_s // DAY_S))
            .order_by(devices.c.name, table.c.day)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Traffic(device=name, day_s=day * DAY_S, received_bytes=received) for name, day, received in rows
        )

    def trim(self, now_s: float, retention: Retention) -> int:
        """Remove what is too old, and then the oldest as long as there is too much; return how many samples went."""
        table, removed = schema.samples, 0
        with self._database.writing() as connection:
            oldest_s = now_s - retention.age_s
            removed += connection.execute(delete(table).where(table.c.at_s < oldest_s)).rowcount
            connection.execute(delete(schema.served).where(schema.served.c.at_s < oldest_s))
            day = int(now_s // DAY_S) - _TRAFFIC_DAYS
            connection.execute(delete(schema.traffic).where(schema.traffic.c.day < day))
        self.alerts.forget(now_s - _TRAFFIC_DAYS * DAY_S)
        while self.used_bytes() > retention.bytes_max:
            with self._database.writing() as connection:
                gone = _remove_oldest(connection)
            if not gone:
                break
            removed += gone
        return removed

    def used_bytes(self) -> int:
        """Return how many bytes of the file hold something; what was removed is used again and does not count."""
        with self._database.reading() as connection:
            pages, free, size = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size


def _device_row(connection: Connection, name: str) -> RowMapping | None:
    return (
        connection.execute(select(schema.devices).where(schema.devices.c.name == name))
        .mappings()
        .one_or_none()
    )


def _new_device(connection: Connection, name: str, now_s: float) -> RowMapping:
    connection.execute(insert(schema.devices).values(name=name, asked_s=now_s))
    return connection.execute(select(schema.devices).where(schema.devices.c.name == name)).mappings().one()


def _change(connection: Connection, device: int, changes: Mapping[str, Any]) -> None:
    connection.execute(update(schema.devices).where(schema.devices.c.id == device).values(**changes))


def _device(row: RowMapping) -> DeviceTelemetry:
    return DeviceTelemetry(
        device=row["name"],
        device_id=row["device_id"],
        asked_s=row["asked_s"],
        answered_s=row["answered_s"],
        silent_since_s=row["silent_since_s"],
        reason=row["reason"],
        sample=None if row["sample"] is None else unpacked(row["sample"]),
        sample_s=row["sample_s"],
        period_s=row["period_s"],
        dropped_count=row["dropped_count"],
        certificate_expires_s=row["certificate_expires_s"],
    )


def _ingest(
    connection: Connection,
    device: str,
    batch: TelemetryBatch,
    now_s: float,
    certificate_expires_s: float | None,
) -> Collected:
    known = _device_row(connection, device) or _new_device(connection, device, now_s)
    same_ring = known["epoch"] == batch.status.epoch
    last = known["last_sequence"] if same_ring else 0
    # Somebody else may have read the device in between, and counted what was lost.
    asked_here = (batch.asked_epoch, batch.asked_after) == (known["epoch"], known["last_sequence"])
    dropped = batch.dropped_count if asked_here else 0
    fresh = [sample for sample in batch.samples if sample.sequence > last]
    before = unpacked(known["sample"]) if known["sample"] is not None and same_ring else None
    shift_s = now_s - batch.status.wall_s
    shift_s = shift_s if abs(shift_s) > _CLOCK_TOLERANCE_S else 0.0
    _insert_samples(connection, known["id"], fresh, before, shift_s)
    _count_bytes(connection, known["id"], batch.received_bytes, now_s)
    changes: dict[str, Any] = {
        "epoch": batch.status.epoch,
        "last_sequence": fresh[-1].sequence if fresh else last,
        "dropped_count": known["dropped_count"] + dropped,
        "device_id": batch.status.device_id,
        "period_s": batch.status.period_s,
        "asked_s": now_s,
        "answered_s": now_s,
        "silent_since_s": None,
        "reason": batch.status.reason,
        "certificate_expires_s": certificate_expires_s,
    }
    if fresh:
        changes |= {"sample": packed(fresh[-1]), "sample_s": fresh[-1].wall_s + shift_s}
    _change(connection, known["id"], changes)
    return Collected(
        device=device,
        sample_count=len(fresh),
        dropped_count=dropped,
        received_bytes=batch.received_bytes,
        reason=batch.status.reason,
    )


def _note_silence(connection: Connection, device: str, reason: str, now_s: float) -> Collected:
    known = _device_row(connection, device) or _new_device(connection, device, now_s)
    since_s = known["silent_since_s"]
    _change(
        connection,
        known["id"],
        {"asked_s": now_s, "reason": reason, "silent_since_s": now_s if since_s is None else since_s},
    )
    return Collected(device=device, error=reason)


def _insert_samples(
    connection: Connection,
    device: int,
    fresh: list[TelemetrySample],
    before: TelemetrySample | None,
    shift_s: float,
) -> None:
    rows, served_rows = [], []
    for sample in fresh:
        at_s = sample.wall_s + shift_s
        # A hole in the numbers makes a longer step, over which rates are as right.
        between_s = sample.wall_s - before.wall_s if before is not None else 0.0
        earlier = {one.name: one for one in before.served} if before is not None else {}
        rows.append(sample_row(sample, before, device, at_s))
        served_rows += [
            served_row(one, earlier.get(one.name), device, at_s, between_s) for one in sample.served
        ]
        before = sample
    if rows:
        connection.execute(insert(schema.samples), rows)
    if kept := [row for row in served_rows if row is not None]:
        connection.execute(insert(schema.served), kept)


def _count_bytes(connection: Connection, device: int, received_bytes: int, now_s: float) -> None:
    table, day = schema.traffic, int(now_s // DAY_S)
    where = (table.c.device == device) & (table.c.day == day)
    changed = connection.execute(
        update(table).where(where).values(received_bytes=table.c.received_bytes + received_bytes)
    )
    if not changed.rowcount:
        connection.execute(insert(table).values(device=device, day=day, received_bytes=received_bytes))


def _points(
    connection: Connection,
    table: Table,
    device: int,
    quantity: str,
    window: tuple[float, float, float],
    model: str,
) -> tuple[SeriesPoint, ...]:
    since_s, until_s, step_s = window
    value = table.c[quantity]
    # Never negative here, so that cutting off is rounding down.
    step = cast((table.c.at_s - since_s) / step_s, Integer)
    query = (
        select(step.label("step"), func.count(), func.min(value), func.avg(value), func.max(value))
        .where(table.c.device == device, table.c.at_s >= since_s, table.c.at_s < until_s, value.is_not(None))
        .group_by("step")
        .order_by("step")
    )
    if model:
        query = query.where(table.c.model == model)
    return tuple(
        SeriesPoint(start_s=since_s + int(number) * step_s, count=count, minimum=low, mean=mean, maximum=high)
        for number, count, low, mean, high in connection.execute(query)
    )


def _remove_oldest(connection: Connection) -> int:
    """Remove some of the samples that came first, of whatever device, and what was served at those times."""
    table, served = schema.samples, schema.served
    oldest = select(table.c.id).order_by(table.c.id).limit(_TRIM_AT_ONCE)
    newest_s = connection.execute(select(func.max(table.c.at_s)).where(table.c.id.in_(oldest))).scalar_one()
    if newest_s is None:
        return 0
    connection.execute(delete(served).where(served.c.at_s <= newest_s))
    return int(connection.execute(delete(table).where(table.c.id.in_(oldest))).rowcount)
