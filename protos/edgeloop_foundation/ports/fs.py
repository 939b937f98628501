"""Files, with durability spelled out: nothing survives a power cut before ``sync`` and ``sync_directory``.

An ``OSError`` passes through unchanged: ``ENOSPC`` and ``EIO`` are for the caller to decide on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from edgeloop_foundation.ports.direct_write import DirectWriter

__all__ = [
    "DirectoryEntry",
    "FileSystem",
    "OsFileSystem",
    "WritableFile",
    "make_durable_directory",
    "write_durably",
]


class WritableFile(Protocol):
    """A file open for appending."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of ``data``."""
        ...

    def bypass_cache(self) -> None:
        """Spare the page cache from now on, where that is possible; for much data that is read once, or later.

        Data may then stay in this process until ``sync``: what is closed without one is lost.
        """
        ...

    def sync(self) -> None:
        """Make everything written so far survive a power cut."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes and go on writing from there."""
        ...

    def close(self) -> None:
        """Close the file without making anything durable."""
        ...


DirectoryEntry = tuple[str, int]
"""Name and size in bytes; the size of a directory is -1."""


class FileSystem(Protocol):
    """The operations that stores are built of; paths are absolute."""

    def make_directory(self, path: Path) -> None:
        """Create a directory (mode 0700) and its parents; existing is no error."""
        ...

    def create(self, path: Path) -> WritableFile:
        """Create a file that must not exist, without following links (mode 0600)."""
        ...

    def append(self, path: Path) -> WritableFile:
        """Open an existing regular file to append, without following links."""
        ...

    def read(self, path: Path) -> bytes:
        """Return the whole content."""
        ...

    def read_chunks(self, path: Path, offset: int, size: int) -> Iterator[bytes]:
        """Yield the content from ``offset`` in chunks of ``size``."""
        ...

    def entries(self, path: Path) -> list[DirectoryEntry]:
        """Return the entries of a directory, sorted by name; an absent directory has none."""
        ...

    def exists(self, path: Path) -> bool:
        """Return whether there is a file or directory."""
        ...

    def size(self, path: Path) -> int:
        """Return the size of a file in bytes."""
        ...

    def set_read_only(self, path: Path) -> None:
        """Take the right to write from everybody (mode 0444)."""
        ...

    def rename(self, source: Path, destination: Path) -> None:
        """Replace ``destination`` atomically."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; absent is no error."""
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content; absent is no error."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make creations, renames and removals in a directory survive a power cut."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Return the space that an unprivileged process may still use."""
        ...

    def total_bytes(self, path: Path) -> int:
        """Return the size of the file system."""
        ...


def make_durable_directory(fs: FileSystem, path: Path) -> None:
    """Create a directory and its parents, and sync every directory that got a new entry.

    Without it, a power cut takes away a new directory with everything that was synced inside it.
    """
    missing = [directory for directory in (path, *path.parents) if not fs.exists(directory)]
    fs.make_directory(path)
    for directory in reversed(missing):
        fs.sync_directory(directory.parent)


def write_durably(fs: FileSystem, path: Path, data: bytes) -> None:
    """Replace ``path`` so that at any power cut it holds the old or the new content, whole.

    A power cut may leave a temporary file ``.NAME.*.tmp`` beside it; an error leaves none.

    Raises:
        OSError: the content is the old one, or, when only the last sync failed, the new one, perhaps not
            durable.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    file = fs.create(temporary)
    try:
        try:
            file.write(data)
            file.sync()
        finally:
            file.close()
        fs.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            fs.remove(temporary)
        raise
    fs.sync_directory(path.parent)


class _OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._direct: DirectWriter | None = None

    def write(self, data: bytes | memoryview) -> None:
        if self._direct is not None:
            self._direct.write(data)
            return
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def bypass_cache(self) -> None:
        if self._direct is None:
            self._direct = DirectWriter(self._descriptor)

    def sync(self) -> None:
        if self._direct is not None:
            self._direct.flush()
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        if self._direct is not None:
            self._direct.flush()
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)
        if self._direct is not None:
            self._direct.restart()

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        os.close(self._descriptor)


class OsFileSystem:
    """The file system of this machine."""

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents with mode 0700."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path) -> WritableFile:
        """Create with O_EXCL and O_NOFOLLOW."""
        return _OsFile(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        )

    def append(self, path: Path) -> WritableFile:
        """Open with O_APPEND and O_NOFOLLOW."""
        return _OsFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC))

    def read(self, path: Path) -> bytes:
        """Return the whole content."""
        return path.read_bytes()

    def read_chunks(self, path: Path, offset: int, size: int) -> Iterator[bytes]:
        """Yield the content from ``offset`` in chunks of ``size``."""
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            # No buffer larger than what is there: one of a mebibyte, cut down to a small file, tears up the heap.
            left = os.fstat(file.fileno()).st_size - offset
            while left > 0 and (chunk := file.read(min(size, left))):
                left -= len(chunk)
                yield chunk

    def entries(self, path: Path) -> list[DirectoryEntry]:
        """Return name and size of each entry."""
        try:
            found = list(os.scandir(path))
        except FileNotFoundError:
            return []
        return sorted(
            (e.name, -1 if e.is_dir(follow_symlinks=False) else e.stat(follow_symlinks=False).st_size)
            for e in found
        )

    def exists(self, path: Path) -> bool:
        """Return whether there is something, a broken link included."""
        return os.path.lexists(path)

    def size(self, path: Path) -> int:
        """Return the size in bytes."""
        return path.stat().st_size

    def set_read_only(self, path: Path) -> None:
        """Set mode 0444."""
        path.chmod(0o444)

    def rename(self, source: Path, destination: Path) -> None:
        """Rename atomically."""
        source.rename(destination)

    def remove(self, path: Path) -> None:
        """Unlink."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content."""
        # It brings every archive format along, which an idle daemon does without.
        import shutil

        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def sync_directory(self, path: Path) -> None:
        """Call fsync on the directory."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: Path) -> int:
        """Return f_bavail in bytes."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def total_bytes(self, path: Path) -> int:
        """Return f_blocks in bytes."""
        status = os.statvfs(path)
        return status.f_blocks * status.f_frsize
