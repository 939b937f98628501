"""A control group that bounds how many threads and processes one runner may have; it holds for root as well."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from pathlib import Path

from edgeloop_agent.emulate.places import find_places

__all__ = ["NoTaskGroup", "TaskGroup"]

_REMOVE_TRIES, _REMOVE_PAUSE_S = 25, 0.02
_PREFIX = "edgeloop-tasks-"

_log = logging.getLogger(__name__)


class NoTaskGroup:
    """Why there is none."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def hold(self, pid: int) -> bool:
        """Hold nothing."""
        return False

    def bound(self, task_count: int) -> None:
        """Bound nothing."""

    def remove(self) -> None:
        """Do nothing."""


class TaskGroup:
    """One group with its bound; remove it once the process is dead."""

    def __init__(self, directory: Path, task_count: int) -> None:
        self._directory, self._task_count = directory, task_count
        self.reason = ""

    @classmethod
    def make(cls, root: Path, task_count: int) -> TaskGroup | NoTaskGroup:
        """Make a group below the agent's own.

        Args:
            root: ``/`` or a recorded tree.
            task_count: most threads and processes in it.
        """
        places, _ = find_places(root, ("pids",))
        if not places:
            return NoTaskGroup("no control group with the pids controller may be made here")
        parent = places[0].directory
        _sweep(root, parent)
        directory = parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        try:
            directory.mkdir()
            (directory / "pids.max").write_text(f"{task_count}\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                directory.rmdir()
            return NoTaskGroup(f"the pids control group cannot be made: {error.strerror}")
        return cls(directory, task_count)

    def hold(self, pid: int) -> bool:
        """Take a process in, with all its threads, and return whether the kernel says that it is bounded there."""
        try:
            (self._directory / "cgroup.procs").write_text(f"{pid}\n")
            inside = str(pid) in (self._directory / "cgroup.procs").read_text().split()
            bound = (self._directory / "pids.max").read_text().strip()
        except OSError as error:
            self.reason = f"the pids control group does not take it: {error.strerror}"
            return False
        return inside and bound == str(self._task_count)

    def bound(self, task_count: int) -> None:
        """Change the bound."""
        self._task_count = task_count
        try:
            (self._directory / "pids.max").write_text(f"{task_count}\n")
        except OSError as error:
            _log.error("the bound of %s stays: %s", self._directory, error)

    def remove(self) -> None:
        """Remove it; a group that still has a process stays for the next sweep."""
        for _ in range(_REMOVE_TRIES):
            with contextlib.suppress(OSError):
                self._directory.rmdir()
                return
            # The kernel takes the last of a killed group out a moment after its parent hears of it.
            time.sleep(_REMOVE_PAUSE_S)
        _log.warning("the control group %s stays until an agent starts a runner again", self._directory)


def _sweep(root: Path, parent: Path) -> None:
    """Remove what agents that were killed have left."""
    for path in parent.glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        if not (root / "proc" / owner).exists():
            with contextlib.suppress(OSError):
                path.rmdir()
