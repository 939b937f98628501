"""A file system in memory that knows what was synced, runs full, fails on demand and loses power."""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.fs import DirectoryEntry
from edgeloop_foundation.ports.simulated_disk import (
    ROOT,
    Disk,
    Image,
    Link,
    Operation,
    ReadOnly,
    Rename,
    Sync,
    SyncDirectory,
    SyncFailed,
    Truncate,
    Unlink,
    Write,
)

__all__ = ["PowerCut", "SimulatedFileSystem"]


class PowerCut(BaseException):
    """The power went: nothing after this happens. No ``Exception``, so that no handler lives through it."""


def _error(code: int, path: object) -> OSError:
    return OSError(code, os.strerror(code), str(path))


class _SimulatedFile:
    """A file open for appending."""

    def __init__(self, fs: SimulatedFileSystem, inode: int, path: Path) -> None:
        self._fs = fs
        self._inode = inode
        self._path = path
        self._open = True

    def _check(self) -> None:
        if not self._open:
            raise _error(errno.EBADF, self._path)

    def write(self, data: bytes | memoryview) -> None:
        self._check()
        self._fs._write(self._inode, bytes(data), self._path)

    def bypass_cache(self) -> None:
        self._check()

    def sync(self) -> None:
        self._check()
        self._fs._sync(self._inode)

    def truncate(self, size: int) -> None:
        self._check()
        self._fs._truncate(self._inode, size, self._path)

    def close(self) -> None:
        self._check()
        self._open = False


class SimulatedFileSystem:
    """A ``FileSystem`` whose crashes can be drawn or enumerated.

    Args:
        capacity_bytes: writing more than this fails with ENOSPC after as much as fits.
    """

    def __init__(self, *, capacity_bytes: int = 1 << 30) -> None:
        self._capacity_bytes = capacity_bytes
        self._start(Image())

    def _start(self, image: Image) -> None:
        self._live = image
        self._base = image.copy()
        self._disk = Disk(image.copy())
        self._log: list[Operation] = []
        self._inodes = itertools.count(max([ROOT, *image.children, *image.content]) + 1)
        self._faults: list[tuple[int, BaseException, bool]] = []
        self._count = 0
        self._dead = False

    # Crashes and faults.

    @property
    def operation_count(self) -> int:
        """How many calls that change or sync something were made; the indices of ``fail_at``."""
        return self._count

    def fail_at(self, index: int, error: OSError | PowerCut, *, forever: bool = False) -> None:
        """Let the call with this ``operation_count`` raise ``error``; with ``forever`` all later ones."""
        self._faults.append((index, error, forever))

    def settle(self) -> None:
        """Make everything durable and forget the history, as an orderly unmount does."""
        self._base = self._live.copy()
        self._disk = Disk(self._live.copy())
        self._log.clear()

    def crash(self, seed: int) -> SimulatedFileSystem:
        """Cut the power now and return what is found after it; this one refuses every further call."""
        self._dead = True
        return self._after(self._disk.crash(random.Random(seed)))  # noqa: S311 - repeatable on purpose

    def crash_states(self, limit: int = 4096) -> Iterator[SimulatedFileSystem]:
        """Yield every different state that a power cut at any moment since the last ``settle`` may leave.

        Raises:
            InvalidInputError: at one moment there are more than ``limit``.
        """
        seen: set[tuple[tuple[str, bytes | None], ...]] = set()
        disk = Disk(self._base.copy())
        for operation in (None, *self._log):
            if operation is not None:
                disk.feed(operation)
            for image in disk.crash_images(limit):
                tree = tuple(image.tree())
                if tree not in seen:
                    seen.add(tree)
                    yield self._after(image)

    def _after(self, image: Image) -> SimulatedFileSystem:
        found = SimulatedFileSystem(capacity_bytes=self._capacity_bytes)
        found._start(image)
        return found

    def _step(self, path: object) -> None:
        self._alive(path)
        index = self._count
        self._count += 1
        for at, error, forever in self._faults:
            if index == at or (forever and index > at):
                self._dead = isinstance(error, PowerCut)
                raise error

    def _alive(self, path: object) -> None:
        if self._dead:
            raise _error(errno.EIO, path)

    def _do(self, operation: Operation) -> None:
        self._log.append(operation)
        self._disk.feed(operation)
        if not isinstance(operation, Sync | SyncFailed | SyncDirectory):
            self._live.apply(operation)

    # Names.

    def _find(self, path: Path) -> int | None:
        if not path.is_absolute():
            raise InvalidInputError(f"paths are absolute, found {path}.")
        inode: int | None = ROOT
        for name in path.parts[1:]:
            inode = None if inode is None else self._live.children.get(inode, {}).get(name)
        return inode

    def _directory(self, path: Path) -> int:
        inode = self._find(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        if inode not in self._live.children:
            raise _error(errno.ENOTDIR, path)
        return inode

    def _file(self, path: Path) -> int:
        self._alive(path)
        inode = self._find(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        if inode in self._live.children:
            raise _error(errno.EISDIR, path)
        return inode

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents."""
        self._step(path)
        parent = ROOT
        for name in path.parts[1:]:
            child = self._live.children[parent].get(name)
            if child is None:
                child = next(self._inodes)
                self._do(Link(directory=parent, name=name, inode=child, is_directory=True))
            elif child not in self._live.children:
                raise _error(errno.EEXIST if name == path.name else errno.ENOTDIR, path)
            parent = child

    def create(self, path: Path) -> _SimulatedFile:
        """Create a file that must not exist."""
        self._step(path)
        parent = self._directory(path.parent)
        if path.name in self._live.children[parent]:
            raise _error(errno.EEXIST, path)
        inode = next(self._inodes)
        self._do(Link(directory=parent, name=path.name, inode=inode))
        self._live.content[inode] = bytearray()
        return _SimulatedFile(self, inode, path)

    def append(self, path: Path) -> _SimulatedFile:
        """Open an existing file."""
        self._step(path)
        inode = self._file(path)
        if inode in self._live.read_only:
            raise _error(errno.EACCES, path)
        return _SimulatedFile(self, inode, path)

    def rename(self, source: Path, destination: Path) -> None:
        """Move a name, over an existing file or an empty directory."""
        self._step(source)
        from_directory, to_directory = self._directory(source.parent), self._directory(destination.parent)
        inode = self._find(source)
        if inode is None:
            raise _error(errno.ENOENT, source)
        replaced = self._find(destination)
        if replaced == inode:
            return
        if replaced is not None:
            self._check_replaceable(inode, replaced, destination)
        self._do(
            Rename(
                source=from_directory,
                source_name=source.name,
                directory=to_directory,
                name=destination.name,
                inode=inode,
            )
        )

    def _check_replaceable(self, inode: int, replaced: int, destination: Path) -> None:
        if replaced in self._live.children:
            if inode not in self._live.children:
                raise _error(errno.EISDIR, destination)
            if self._live.children[replaced]:
                raise _error(errno.ENOTEMPTY, destination)
        elif inode in self._live.children:
            raise _error(errno.ENOTDIR, destination)

    def remove(self, path: Path) -> None:
        """Take the name of a file away; absent is no error."""
        self._step(path)
        if self._find(path) is not None:
            inode = self._file(path)
            self._do(Unlink(directory=self._directory(path.parent), name=path.name, inode=inode))

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with its content; absent is no error."""
        self._step(path)
        if self._find(path) is not None:
            self._remove_tree(self._directory(path.parent), path.name, self._directory(path))

    def _remove_tree(self, parent: int, name: str, inode: int) -> None:
        for child_name, child in list(self._live.children[inode].items()):
            if child in self._live.children:
                self._remove_tree(inode, child_name, child)
            else:
                self._do(Unlink(directory=inode, name=child_name, inode=child))
        self._do(Unlink(directory=parent, name=name, inode=inode))

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        self._step(path)
        self._do(SyncDirectory(directory=self._directory(path)))

    # Content.

    def _used_bytes(self) -> int:
        return sum(len(content) for _, content in self._live.tree() if content is not None)

    def _write(self, inode: int, data: bytes, path: Path) -> None:
        self._step(path)
        room = max(0, self._capacity_bytes - self._used_bytes())
        if put := bytes(data[:room]):
            self._do(Write(inode=inode, offset=len(self._live.content[inode]), data=put))
        if len(data) > room:
            raise _error(errno.ENOSPC, path)

    def _truncate(self, inode: int, size: int, path: Path) -> None:
        self._step(path)
        self._do(Truncate(inode=inode, size=size))

    def _sync(self, inode: int) -> None:
        try:
            self._step(f"inode {inode}")
        except OSError:
            self._do(SyncFailed(inode=inode))
            raise
        self._do(Sync(inode=inode))

    def set_read_only(self, path: Path) -> None:
        """Refuse ``append`` from now on."""
        self._step(path)
        self._do(ReadOnly(inode=self._file(path)))

    def read(self, path: Path) -> bytes:
        """Return the whole content."""
        return bytes(self._live.content.get(self._file(path), b""))

    def read_chunks(self, path: Path, offset: int, size: int) -> Iterator[bytes]:
        """Yield the content from ``offset`` in chunks of ``size``."""
        content = self.read(path)
        for start in range(offset, len(content), size):
            yield content[start : start + size]

    def entries(self, path: Path) -> list[DirectoryEntry]:
        """Return name and size of each entry; an absent directory has none."""
        self._alive(path)
        if self._find(path) is None:
            return []
        live = self._live
        return sorted(
            (name, -1 if child in live.children else len(live.content.get(child, b"")))
            for name, child in live.children[self._directory(path)].items()
        )

    def exists(self, path: Path) -> bool:
        """Return whether there is a file or directory."""
        self._alive(path)
        return self._find(path) is not None

    def size(self, path: Path) -> int:
        """Return the size of a file in bytes."""
        return len(self._live.content.get(self._file(path), b""))

    def free_bytes(self, path: Path) -> int:
        """Return what is left of the capacity."""
        self._alive(path)
        return max(0, self._capacity_bytes - self._used_bytes())

    def total_bytes(self, path: Path) -> int:
        """Return the capacity."""
        self._alive(path)
        return self._capacity_bytes
