"""A disk that ends its own process, or fails, at the k-th operation; all else is this machine's."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeloop_agent.simulate.fault_disk import FaultDisk
from edgeloop_foundation.ports.fs import DirectoryEntry, OsFileSystem, WritableFile

__all__ = ["KINDS", "PLANTS", "FaultyDisk", "Plan"]

_CONTENTS = ("make_directory", "create", "append", "write", "sync", "truncate")
_ENTRIES = ("rename", "remove", "remove_tree", "set_read_only", "sync_directory")
_CHANGES = frozenset((*_CONTENTS, *_ENTRIES))
KINDS: dict[str, frozenset[str]] = {
    "kill": _CHANGES,
    "ENOSPC": frozenset(("make_directory", "create", "write", "sync", "rename")),
    "EIO": _CHANGES | {"read", "entries"},
    "EMFILE": frozenset(("create", "append", "read", "entries", "sync_directory")),
}
"""What may happen, and at which operations."""

PLANTS = ("torn-rename", "no-fsync")
"""Faults of the disk itself, to see that they are found: a rename in two steps, a sync that does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to one process."""

    #: One of ``KINDS``.
    kind: str = "kill"
    #: The operation at which it happens, from 1; 0 for never.
    at: int = 0
    #: Whether a kill takes with it what was not synced, as a power cut does.
    lose: bool = False
    #: Whether operations count from the start of the process, not only once it is ready.
    from_start: bool = False
    #: One of ``PLANTS``; empty for a sound disk.
    plant: str = ""
    #: Further operations at which it happens, beyond ``at``; a kill has none.
    also: tuple[int, ...] = ()
    #: Whether it is about the program that verifies releases, which has a disk of its own.
    verifier: bool = False

    def __post_init__(self) -> None:
        # From JSON it comes as a list.
        object.__setattr__(self, "also", tuple(self.also))
        if self.kind not in KINDS or self.at < 0 or self.plant not in ("", *PLANTS):
            raise ValueError(f"no such plan: {self}")
        if self.also and (self.kind == "kill" or min(self.also) <= self.at):
            raise ValueError(f"further operations lie beyond the first, and nobody is killed twice: {self}")

    @property
    def places(self) -> tuple[int, ...]:
        """Every operation at which it happens."""
        return (self.at, *self.also)


class _File:
    """An open file of the disk."""

    def __init__(self, disk: FaultyDisk, inner: WritableFile) -> None:
        self._disk, self._inner = disk, inner

    def bypass_cache(self) -> None:
        self._inner.bypass_cache()

    def write(self, data: bytes | memoryview) -> None:
        if self._disk.step("write"):
            # Whoever dies or runs out of room while writing leaves a part behind.
            self._inner.write(data[: len(data) // 2])
            self._disk.strike()
        self._inner.write(data)

    def sync(self) -> None:
        self._disk.pass_step("sync")
        if self._disk.plan.plant != "no-fsync":
            self._inner.sync()

    def truncate(self, size: int) -> None:
        self._disk.pass_step("truncate")
        self._inner.truncate(size)

    def close(self) -> None:
        self._inner.close()


class FaultyDisk(FaultDisk):
    """Counts operations once armed, and strikes at the planned one, once."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(lambda: None)
        self.plan = plan
        self.counts = dict.fromkeys(KINDS, 0)
        self._armed = plan.from_start
        self._counting = threading.Lock()

    def arm(self, *, on: bool = True) -> None:
        """Count from now on, or no longer."""
        self._armed = on

    def step(self, operation: str) -> bool:
        """Count an operation and return whether it is the one."""
        if not self._armed:
            return False
        with self._counting:
            for kind, operations in KINDS.items():
                self.counts[kind] += operation in operations
            return operation in KINDS[self.plan.kind] and self.counts[self.plan.kind] in self.plan.places

    def strike(self) -> None:
        """Do what is planned.

        Raises:
            OSError: of the planned kind, unless the process is killed.
        """
        if self.plan.kind == "kill":
            if self.plan.lose:
                self.lose_unsynced()
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        number = getattr(errno, self.plan.kind)
        raise OSError(number, os.strerror(number))

    def pass_step(self, operation: str) -> None:
        """Count an operation, and strike when it is the one."""
        if self.step(operation):
            self.strike()

    def create(self, path: Path) -> WritableFile:
        self.pass_step("create")
        return _File(self, super().create(path))

    def append(self, path: Path) -> WritableFile:
        self.pass_step("append")
        return _File(self, super().append(path))

    def read(self, path: Path) -> bytes:
        self.pass_step("read")
        return super().read(path)

    def read_chunks(self, path: Path, offset: int, size: int) -> Iterator[bytes]:
        self.pass_step("read")
        return super().read_chunks(path, offset, size)

    def entries(self, path: Path) -> list[DirectoryEntry]:
        self.pass_step("entries")
        return super().entries(path)

    def make_directory(self, path: Path) -> None:
        self.pass_step("make_directory")
        super().make_directory(path)

    def set_read_only(self, path: Path) -> None:
        self.pass_step("set_read_only")
        super().set_read_only(path)

    def rename(self, source: Path, destination: Path) -> None:
        self.pass_step("rename")
        if self.plan.plant == "torn-rename":
            super().remove(destination)
            self.pass_step("rename")
        super().rename(source, destination)

    def remove(self, path: Path) -> None:
        self.pass_step("remove")
        super().remove(path)

    def remove_tree(self, path: Path) -> None:
        # File by file, so that it can break off in the middle.
        for name, size in OsFileSystem.entries(self, path):
            (self.remove_tree if size < 0 else self.remove)(path / name)
        self.pass_step("remove_tree")
        super().remove_tree(path)

    def sync_directory(self, path: Path) -> None:
        self.pass_step("sync_directory")
        super().sync_directory(path)
