"""Opens the SQLite file of the records: settings by version, explicit transactions, forward-only migrations.

Decisions: WAL needs SQLite 3.51.3 or newer (older ones can lose a checkpoint when two processes reset the
log at once), else the rollback journal with ``synchronous=EXTRA``. ``synchronous`` is never below FULL,
because a run that was acknowledged to its device exists nowhere else any more. One connection a process, so
that writers queue in Python and not on SQLite's lock.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import BusyError, CorruptDataError, InternalError, UnsupportedError
from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from edgeloop.store.schema import Migration

__all__ = ["Database", "journal_settings"]

_WAL_FROM = (3, 51, 3)
_BUSY_TIMEOUT_MS = 5000


def journal_settings(version: tuple[int, ...]) -> tuple[str, str]:
    """Return ``journal_mode`` and ``synchronous`` for a version of SQLite."""
    return ("WAL", "FULL") if version >= _WAL_FROM else ("DELETE", "EXTRA")


class Database:
    """One SQLite file; every method may be called from any thread."""

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        """Open or create the file and bring its tables up to date.

        Raises:
            UnsupportedError: a newer edgeloop wrote it.
            CorruptDataError: it is not a database, or a damaged one.
            BusyError: another process holds it, or the disk is full.
        """
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._engine = _engine(path)
        self._writer = self._engine.execution_options(edgeloop_begin="BEGIN IMMEDIATE")
        try:
            self._migrate(migrations)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the file.

        Raises:
            BusyError: the file is locked for too long.
            CorruptDataError: the file is damaged.
        """
        with self._errors(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is written whole, and durable, when the block ends well; else not at all.

        Raises:
            BusyError: the file is locked for too long, or the disk is full.
            CorruptDataError: the file is damaged.
        """
        with self._errors(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the connection; the object is not used afterwards."""
        self._engine.dispose()

    def _migrate(self, migrations: Sequence[Migration]) -> None:
        with self.reading() as connection:
            version = self._version(connection, len(migrations))
        if version == len(migrations):
            return
        if version:
            self._back_up(version)
        with self.writing() as connection:
            # Read again: another process may have done it while this one waited for the lock.
            for step in migrations[self._version(connection, len(migrations)) :]:
                step(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {len(migrations)}")

    def _version(self, connection: Connection, known: int) -> int:
        version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version > known:
            raise UnsupportedError(
                f"the records in {self._path} have schema version {version}, known here is up to {known}.",
                next_step="Update edgeloop, or name another file for the records.",
            )
        return version

    def _back_up(self, version: int) -> None:
        """Keep a copy from before a migration; a live file is copied by SQLite, never by the file system."""
        target = self._path.with_name(f"{self._path.name}.backup-v{version}")
        with (
            contextlib.closing(sqlite3.connect(self._path)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.DatabaseError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorname", "")
        text = str(cause)
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in text:
            return BusyError(f"another process holds the records in {self._path}.", next_step="Try again.")
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")) or "disk is full" in text:
            return BusyError(
                f"no space left for the records in {self._path}.",
                next_step="Free some disk space and try again.",
            )
        if (
            code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
            or "malformed" in text
            or "not a database" in text
        ):
            return CorruptDataError(
                f"the records in {self._path} can not be read: {text}.",
                next_step="Move that file away, or restore a copy of it.",
            )
        return InternalError(f"the records in {self._path} refused a statement: {text}.")


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=1,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    journal, synchronous = journal_settings(sqlite3.sqlite_version_info)
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        f"journal_mode = {journal}",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        "mmap_size = 0",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    # Not left to the driver: a writer that begins as a reader fails at its first write instead of waiting.
    connection.exec_driver_sql(connection.get_execution_options().get("edgeloop_begin", "BEGIN"))
