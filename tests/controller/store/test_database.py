from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from edgeloop.store.database import Database, journal_settings
from edgeloop.store.schema import MIGRATIONS
from edgeloop_foundation.errors import CorruptDataError, UnsupportedError
from sqlalchemy import Connection


def pragma(database: Database, name: str) -> object:
    with database.reading() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        ((3, 31, 1), ("DELETE", "EXTRA")),
        ((3, 51, 2), ("DELETE", "EXTRA")),
        ((3, 51, 3), ("WAL", "FULL")),
        ((3, 100, 0), ("WAL", "FULL")),
    ],
)
def test_the_journal_follows_the_version(version: tuple[int, ...], settings: tuple[str, str]) -> None:
    assert journal_settings(version) == settings


def test_every_setting_is_in_force(tmp_path: Path) -> None:
    database = Database(tmp_path / "r.sqlite", MIGRATIONS)
    journal, synchronous = journal_settings(sqlite3.sqlite_version_info)
    assert pragma(database, "journal_mode") == journal.lower()
    assert pragma(database, "synchronous") == {"FULL": 2, "EXTRA": 3}[synchronous]
    assert pragma(database, "foreign_keys") == 1
    assert pragma(database, "trusted_schema") == 0
    assert pragma(database, "busy_timeout") == 5000
    assert pragma(database, "user_version") == len(MIGRATIONS)
    database.close()


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "r.sqlite", (lambda c: _run(c, "CREATE TABLE t (x)"),))

    def fail() -> None:
        with database.writing() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
    database.close()


def _run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


FIRST = (lambda c: _run(c, "CREATE TABLE t (x)"),)
SECOND = (*FIRST, lambda c: _run(c, "ALTER TABLE t ADD COLUMN y"))
BROKEN = (*SECOND, lambda c: _run(c, "CREATE TABLE u (x)"), lambda c: _run(c, "no SQL"))


def columns(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [row[1] for row in connection.execute("PRAGMA table_info(t)")]
    connection.close()
    return found


def test_a_migration_keeps_a_copy_of_what_was(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    Database(path, FIRST).close()
    assert not list(tmp_path.glob("*backup*")), "there is nothing to keep of an empty file"
    Database(path, SECOND).close()
    assert columns(path) == ["x", "y"]
    assert columns(tmp_path / "r.sqlite.backup-v1") == ["x"]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    Database(path, FIRST).close()
    with pytest.raises(Exception, match="syntax error"):
        Database(path, BROKEN)
    assert columns(path) == ["x"]
    Database(path, FIRST).close()


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    Database(path, SECOND).close()
    with pytest.raises(UnsupportedError, match=r"version 2, known here is up to 1\. Update edgeloop"):
        Database(path, FIRST)


def test_what_is_not_a_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_text("this is a text, long enough to be looked at as a header, and not a database at all" * 20)
    with pytest.raises(CorruptDataError, match=r"can not be read.*Move that file away"):
        Database(path, MIGRATIONS)
