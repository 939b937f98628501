"""The file of baselines: JSON made for review, replaced whole, by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably
from edgeloop_protocol.convert import from_json, to_json

from edgeloop.domain.baseline import Baseline, BaselineFile
from edgeloop.store.artifacts import disk_errors

__all__ = ["read_baselines", "record_baseline"]


def read_baselines(path: Path) -> BaselineFile:
    """Read a file of baselines.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: it is no file of baselines.
    """
    try:
        found = from_json(path.read_text(encoding="utf-8"), BaselineFile)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no baseline file {path.name}.",
            next_step="Record one with --edgeloop-update-baseline and have it reviewed.",
        ) from error
    except (InvalidInputError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} is no file of baselines: {error}") from error
    if (found.api_version, found.kind) != ("edgeloop/v1", "Baseline"):
        raise InvalidInputError(
            f"{path.name} is a {found.kind!r} of {found.api_version!r}, expected a 'Baseline' of 'edgeloop/v1'."
        )
    return found


def record_baseline(path: Path, baseline: Baseline, fs: FileSystem | None = None) -> None:
    """Put one baseline into the file, in the place of the one of the same model and device.

    Raises:
        InvalidInputError: the file is there and is no file of baselines.
        BusyError: the disk is full; the file is as it was.
    """
    with _alone(path), disk_errors(path.name):
        known = read_baselines(path) if path.exists() else BaselineFile()
        tree = to_json(known.with_baseline(baseline))
        text = json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_durably(fs or OsFileSystem(), path.absolute(), text.encode())


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file; the lock is on its directory and leaves nothing behind."""
    directory = path.absolute().parent
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
