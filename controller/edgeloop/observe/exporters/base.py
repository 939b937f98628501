"""What every exporter is given and has to do."""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import BusyError, InvalidInputError
from edgeloop_protocol.types.run import Run

from edgeloop.observe.exporters.rows import Column, Value

__all__ = ["Export", "Exporter", "FileExporter", "write_whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is to be written."""

    #: Experiment it comes from.
    experiment_id: str
    #: Columns in order, each with its type.
    columns: tuple[Column, ...]
    #: One row per run, or per sample; as long as the columns.
    rows: tuple[tuple[Value, ...], ...]
    #: The runs behind the rows.
    runs: tuple[Run, ...]


class Exporter(abc.ABC):
    """Writes records somewhere."""

    #: Registered name.
    name: ClassVar[str]
    #: Whether it can also take one row per sample.
    takes_samples: ClassVar[bool] = True

    @abc.abstractmethod
    def export(self, export: Export, to: str) -> str:
        """Write everything and return where it is, for people.

        Args:
            export: rows and runs.
            to: path or URI; empty takes the exporter's own default in the current directory.

        Raises:
            InvalidInputError: ``to`` cannot be used.
            BusyError: the disk is full; nothing is left behind.
            MissingDependencyError: a package is not installed.
        """


class FileExporter(Exporter):
    """Writes one file, whole or not at all."""

    suffix: ClassVar[str]

    def export(self, export: Export, to: str) -> str:
        """Write the file and return its path."""
        path = Path(to or f"{export.experiment_id}{self.suffix}")
        if path.is_dir():
            raise InvalidInputError(f"{path} is a directory.", next_step="Name a file with --to.")
        with write_whole(path) as temporary:
            self._write(export, temporary)
        return str(path)

    @abc.abstractmethod
    def _write(self, export: Export, path: Path) -> None:
        """Write everything into a new file."""


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which takes its place, synced, when the block ends well.

    Raises:
        BusyError: no space left; neither file is touched or left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if not _full(error):
            raise
        raise BusyError(f"no space left to write {path}.", next_step="Free some disk space.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
