"""Tables of the telemetry, in a file of their own: it is cut to age and size, which records never are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, Connection, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

from edgeloop.domain.telemetry import QUANTITIES, SERVED_QUANTITIES
from edgeloop.store.schema import Migration

__all__ = ["MIGRATIONS", "alerts", "baselines", "devices", "samples", "served", "traffic"]

METADATA = MetaData()

devices = Table(
    "telemetry_devices",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("epoch", String(64), nullable=False, default=""),
    Column("last_sequence", Integer, nullable=False, default=0),
    Column("dropped_count", Integer, nullable=False, default=0),
    Column("device_id", String(128), nullable=False, default=""),
    Column("period_s", Float, nullable=False, default=0.0),
    Column("asked_s", Float, nullable=False),
    Column("answered_s", Float),
    Column("silent_since_s", Float),
    Column("reason", Text, nullable=False, default=""),
    Column("certificate_expires_s", Float),
    Column("sample_s", Float),
    Column("sample", LargeBinary),
)
"""One row a device: where reading goes on, and the newest sample whole."""

samples = Table(
    "telemetry_samples",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", Integer, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("served_count", Integer, nullable=False),
    *(Column(quantity, Float) for quantity in QUANTITIES),
    Column("record", LargeBinary, nullable=False),
    Index("telemetry_samples_of_device", "device", "at_s"),
)
"""One row a sample: numbers for series, and the sample whole, compressed. In order of arrival, oldest first."""

served = Table(
    "telemetry_served",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", Integer, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("model", String(63), nullable=False),
    *(Column(quantity, Float) for quantity in SERVED_QUANTITIES),
    Index("telemetry_served_of_device", "device", "model", "at_s"),
)
"""One row a sample and served deployment: rates and quantiles since the sample before."""

traffic = Table(
    "telemetry_traffic",
    METADATA,
    Column("device", Integer, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("received_bytes", Integer, nullable=False),
)
"""Bytes on the wire by device and day since 1970 (UTC)."""

baselines = Table(
    "telemetry_baselines",
    METADATA,
    Column("device", String(255), primary_key=True),
    Column("model", String(63), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("latency_s", Float, nullable=False),
    Column("request_count", Integer, nullable=False),
    Column("learned_s", Float, nullable=False),
)
"""Median latency of each version in its first window with requests enough."""

alerts = Table(
    "telemetry_alerts",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rule", String(32), nullable=False),
    Column("device", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("message", Text, nullable=False),
    Column("opened_s", Float, nullable=False),
    Column("seen_s", Float, nullable=False),
    Column("clear_since_s", Float),
    Column("resolved_s", Float),
    Column("told", Integer, nullable=False),
)
"""One row an alert, changed until it is resolved and told."""


def _first(connection: Connection) -> None:
    METADATA.create_all(connection)


MIGRATIONS: Sequence[Migration] = (_first,)
"""Step N leads from version N to N + 1; released steps are never edited, new ones are appended."""
