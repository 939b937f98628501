"""Files that were sent to the controller for experiments: by digest, whole or not at all.

Layout below ``serve/uploads``::

    SHA256         the content, read-only
    RANDOM.part    what is being sent; removed when that breaks off, or at the next start
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path

from edgeloop_foundation.errors import BusyError, CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.clock import Clock, SystemClock
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, make_durable_directory

from edgeloop.domain.queue import SubmittedFile
from edgeloop.store.artifacts import disk_errors

__all__ = ["UPLOAD_BYTES_MAX", "Upload", "UploadStore", "check_digest"]

UPLOAD_BYTES_MAX = 8 << 30
"""Largest file that is taken."""

_SPARE_BYTES = 256 << 20
"""Left free on the disk: records and spools of the controller need room too."""

_KEPT_S = 24 * 3600.0
"""A file that no waiting experiment names is kept so long after it was sent or asked for."""

_CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_digest(digest: str) -> str:
    """Return a digest if it is one.

    Raises:
        InvalidInputError: it is none.
    """
    if not _DIGEST.fullmatch(digest):
        raise InvalidInputError("a file is named by its SHA-256: 64 hexadecimal digits in lower case.")
    return digest


class Upload:
    """A file while it is sent; a context manager, after which it is either kept whole or gone."""

    def __init__(self, fs: FileSystem, directory: Path, digest: str, size: int) -> None:
        self._fs, self._directory, self._digest, self._size = fs, directory, digest, size
        self._path = directory / f"{secrets.token_hex(16)}.part"
        self._hash, self._count = hashlib.sha256(), 0
        self._kept = False
        with disk_errors("a file that is sent"):
            self._file = fs.create(self._path)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self._kept:
            with contextlib.suppress(OSError):
                self._fs.remove(self._path)

    def write(self, data: bytes) -> None:
        """Append a piece.

        Raises:
            InvalidInputError: there is more than was announced.
            BusyError: the disk is full.
        """
        self._count += len(data)
        if self._count > self._size:
            raise InvalidInputError(f"more than the announced {self._size} bytes were sent.")
        self._hash.update(data)
        with disk_errors("a file that is sent"):
            self._file.write(data)

    def keep(self) -> None:
        """Keep the file, durably, if it is whole.

        Raises:
            InvalidInputError: bytes are missing, or the content has another digest.
            BusyError: the disk is full.
        """
        if self._count != self._size:
            raise InvalidInputError(f"{self._count} of {self._size} announced bytes were sent.")
        if self._hash.hexdigest() != self._digest:
            raise InvalidInputError(
                f"the content has the digest {self._hash.hexdigest()[:12]}, announced was {self._digest[:12]}.",
                next_step="Send the file again; it may have changed meanwhile.",
            )
        with disk_errors("a file that is sent"):
            self._file.sync()
            self._fs.set_read_only(self._path)
            self._fs.rename(self._path, self._directory / self._digest)
            self._fs.sync_directory(self._directory)
        self._kept = True


class UploadStore:
    """``serve/uploads`` below the controller's home; synchronous."""

    def __init__(self, home: Path, fs: FileSystem | None = None, clock: Clock | None = None) -> None:
        self._fs = fs or OsFileSystem()
        self._clock = clock or SystemClock()
        self._directory = home / "serve" / "uploads"

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Return the files that are not here; those that are stay for a day from now.

        Raises:
            InvalidInputError: one is no digest.
        """
        return tuple(digest for digest in dict.fromkeys(digests) if not self._touched(digest))

    def _touched(self, digest: str) -> bool:
        try:
            os.utime(self._directory / check_digest(digest))
        except FileNotFoundError:
            return False
        return True

    def begin(self, digest: str, size: int) -> Upload:
        """Begin to take a file.

        Raises:
            InvalidInputError: it is no digest, or the file is too large.
            BusyError: the disk has no room for it.
        """
        check_digest(digest)
        if not 0 <= size <= UPLOAD_BYTES_MAX:
            raise InvalidInputError(f"a file has at most {UPLOAD_BYTES_MAX} bytes, this one {size}.")
        with disk_errors("a file that is sent"):
            make_durable_directory(self._fs, self._directory)
        free = self._fs.free_bytes(self._directory)
        if free < size + _SPARE_BYTES:
            raise BusyError(
                f"the server has {free} bytes free, the file has {size}, and {_SPARE_BYTES} stay free.",
                next_step="Free some disk space on the server.",
            )
        return Upload(self._fs, self._directory, digest, size)

    def lay_out(self, files: Collection[SubmittedFile], directory: Path) -> None:
        """Put files under their paths into a new directory, each content checked once more.

        Copies, because readers of models refuse files of several names.

        Raises:
            NotFoundError: one is not here.
            CorruptDataError: one is damaged.
            BusyError: the disk is full.
        """
        with disk_errors("the files of an experiment"):
            for file in files:
                found = self._copy(file, directory / file.path)
                if found != file.digest:
                    raise CorruptDataError(
                        f"what was sent as {file.path} is damaged on the server.",
                        next_step="Look at the server's disk, and hand the experiment in again.",
                    )

    def _copy(self, file: SubmittedFile, place: Path) -> str:
        """Copy one file and return the digest of what was copied."""
        source = self._directory / check_digest(file.digest)
        if not self._fs.exists(source):
            raise NotFoundError(
                f"the file {file.path} is not on the server any more.",
                next_step="Hand the experiment in again.",
            )
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copied = hashlib.sha256()
        copy = self._fs.create(place)
        try:
            for piece in self._fs.read_chunks(source, 0, _CHUNK_BYTES):
                copied.update(piece)
                copy.write(piece)
        finally:
            copy.close()
        return copied.hexdigest()

    def sweep(self, wanted: Collection[str], *, starting: bool = False) -> None:
        """Remove what no waiting experiment names and nobody sent or asked for within a day.

        Args:
            wanted: digests of the files of experiments that are not over.
            starting: whether nothing is being sent yet, so that every part is a left one.
        """
        if not self._directory.is_dir():
            return
        old_s = self._clock.wall_s() - _KEPT_S
        for path in self._directory.iterdir():
            part = path.suffix == ".part"
            with contextlib.suppress(FileNotFoundError):
                if (part and starting) or (path.name not in wanted and path.stat().st_mtime < old_s):
                    path.unlink()
