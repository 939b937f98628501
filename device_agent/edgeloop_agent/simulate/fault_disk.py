"""A disk that fills up, loses power or stops with its agent; otherwise this machine's own.

Errors are those of the kernel, raised where the kernel would: the stores above cannot tell the difference. A power
loss takes with it the bytes that were written and not synced; entries of directories stay.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgeloop_foundation.ports.fs import OsFileSystem, WritableFile

__all__ = ["FaultDisk"]


class _File:
    """An open file of a disk with faults."""

    def __init__(self, disk: FaultDisk, path: Path, inner: WritableFile, size: int) -> None:
        self._disk, self._path, self._inner, self._size = disk, path, inner, size

    def write(self, data: bytes | memoryview) -> None:
        self._disk.before_write()
        self._inner.write(data)
        self._size += len(data)

    def bypass_cache(self) -> None:
        self._inner.bypass_cache()

    def sync(self) -> None:
        self._disk.before_change()
        self._inner.sync()
        self._disk.note_synced(self._path, self._size)

    def truncate(self, size: int) -> None:
        self._disk.before_change()
        self._inner.truncate(size)
        self._size = size

    def close(self) -> None:
        self._inner.close()


class FaultDisk(OsFileSystem):
    """The file system of a simulated board.

    Args:
        on_write: told before every write, from whatever thread; it may call ``freeze`` or ``fill``.
    """

    def __init__(self, on_write: Callable[[], None]) -> None:
        self._on_write = on_write
        self._frozen = False
        self._full_until_s: float | None = None
        self._safe: dict[Path, int] = {}
        self._lock = threading.Lock()

    def freeze(self) -> None:
        """Take nothing from now on: whoever writes has lost its process or its power."""
        self._frozen = True

    def thaw(self) -> None:
        """Work again."""
        self._frozen = False

    def fill(self, for_s: float) -> None:
        """Have no room for this long in wall time; 0 is for good."""
        self._full_until_s = time.monotonic() + for_s if for_s else float("inf")

    @property
    def full(self) -> bool:
        """Return whether there is no room now."""
        return self._full_until_s is not None and time.monotonic() < self._full_until_s

    def lose_unsynced(self) -> None:
        """Cut every file to what was synced of it."""
        with self._lock:
            for path, size in self._safe.items():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_size > size:
                        os.truncate(path, size)
            self._safe.clear()

    def before_change(self) -> None:
        """Refuse when the board is away.

        Raises:
            OSError: EIO.
        """
        if self._frozen:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def before_write(self) -> None:
        """Refuse when the board is away or the disk is full.

        Raises:
            OSError: EIO or ENOSPC.
        """
        self._on_write()
        self.before_change()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def note_synced(self, path: Path, size: int) -> None:
        """Remember how much of a file is safe, under the name that it was opened by."""
        with self._lock:
            self._safe[path] = size

    def create(self, path: Path) -> WritableFile:
        """Create a file of which nothing is safe yet."""
        self.before_change()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._opened(path, super().create(path), 0)

    def append(self, path: Path) -> WritableFile:
        """Open a file; what it holds counts as safe unless it was written here and not synced."""
        self.before_change()
        return self._opened(path, super().append(path), self.size(path))

    def _opened(self, path: Path, inner: WritableFile, size: int) -> WritableFile:
        with self._lock:
            self._safe.setdefault(path, size)
            return _File(self, path, inner, size)

    def rename(self, source: Path, destination: Path) -> None:
        """Rename; what is safe of the file stays so."""
        self.before_change()
        super().rename(source, destination)
        with self._lock:
            if source in self._safe:
                self._safe[destination] = self._safe.pop(source)

    def make_directory(self, path: Path) -> None:
        """Create a directory."""
        self.before_change()
        super().make_directory(path)

    def set_read_only(self, path: Path) -> None:
        """Set mode 0444."""
        self.before_change()
        super().set_read_only(path)

    def remove(self, path: Path) -> None:
        """Unlink."""
        self.before_change()
        super().remove(path)
        with self._lock:
            self._safe.pop(path, None)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content."""
        self.before_change()
        super().remove_tree(path)

    def sync_directory(self, path: Path) -> None:
        """Call fsync on the directory."""
        self.before_change()
        super().sync_directory(path)

    def free_bytes(self, path: Path) -> int:
        """Return nothing when the disk is full."""
        return 0 if self.full else super().free_bytes(path)
