"""A control group for one runner, so that the kernel itself keeps the peak of what the runner was charged for.

It is made inside of what the agent may arrange: its own group where that may have children, or the one above it where
systemd has delegated that (``Delegate=memory`` with ``DelegateSubgroup=``). Anything else is left alone, and the reason
is given. Charged to a group is also the page cache that it was the first to touch; what the runner used in the
milliseconds before it was moved stays with the agent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryGroup", "NoGroup"]

_MOUNT = "sys/fs/cgroup"
_PEAK = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
_DELEGATED = ("user.delegate", "trusted.delegate")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NoGroup:
    """Why the runner has no control group of its own."""

    reason: str

    def as_header(self) -> dict[str, object]:
        """Return what joins the runner's own figures."""
        return {"cgroup_reason": self.reason}

    def take(self, pid: int) -> None:
        """Take nothing."""

    def remove(self) -> None:
        """Do nothing."""


class MemoryGroup:
    """One group; remove it once the runner is dead."""

    def __init__(self, directory: Path, version: int, peak: int, reset: bool, borrowed: bool = False) -> None:
        self._borrowed = borrowed
        self._directory, self._version = directory, version
        self._peak, self._reset = peak, reset

    @classmethod
    def make(cls, root: Path, pid: int, name: str = "") -> MemoryGroup | NoGroup:
        """Make a group and move a process into it.

        Args:
            root: ``/`` or a recorded tree.
            pid: the runner, just started.
            name: of the group; random by default.
        """
        found = _parent(root)
        if isinstance(found, NoGroup):
            return found
        parent, version = found
        directory = parent / (name or f"edgeloop-{secrets.token_hex(4)}")
        try:
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.procs").write_text(f"{pid}\n")
            peak, reset = _open_peak(directory / _PEAK[version])
        except OSError as error:
            with contextlib.suppress(OSError):
                directory.rmdir()
            return NoGroup(f"no control group of its own: {_on_device(directory, root)}: {error.strerror}")
        return cls(directory, version, peak, reset)

    @classmethod
    def of(cls, directory: Path, version: int) -> MemoryGroup | NoGroup:
        """Read the peak of a group that somebody else made for the runner, and removes."""
        try:
            peak, reset = _open_peak(directory / _PEAK[version])
        except OSError as error:
            return NoGroup(f"the peak of its control group cannot be read: {error.strerror}")
        return cls(directory, version, peak, reset, borrowed=True)

    @property
    def version_2(self) -> bool:
        """Whether it is of version 2, where a process is in one group alone."""
        return self._version == 2

    def take(self, pid: int) -> None:
        """Take in a process that was started too early to come with its parent."""
        with contextlib.suppress(OSError):
            (self._directory / "cgroup.procs").write_text(f"{pid}\n")

    def as_header(self) -> dict[str, object]:
        """Return the peak so far and the version of the control group."""
        try:
            value = int(os.pread(self._peak, 64, 0))
        except (OSError, ValueError) as error:
            return {"cgroup_reason": f"the peak of the control group cannot be read: {error}"}
        how = "reset when the runner came" if self._reset else "since the group was made"
        return {
            "cgroup_peak_bytes": value,
            "cgroup_version": self._version,
            "cgroup_method": f"{_PEAK[self._version]}, {how}",
        }

    def remove(self) -> None:
        """Close and remove it; a group that still has a process stays, and is named in the log."""
        os.close(self._peak)
        if self._borrowed:
            return
        try:
            self._directory.rmdir()
        except OSError as error:
            _log.warning("the control group %s stays: %s", self._directory, error)


def _open_peak(path: Path) -> tuple[int, bool]:
    """Open the peak for good, reset where this kernel allows it; the reset of version 2 is of the descriptor alone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    try:
        os.pwrite(descriptor, b"0", 0)
    except OSError:
        return descriptor, False
    return descriptor, True


def _parent(root: Path) -> tuple[Path, int] | NoGroup:
    """Return where a group may be made, and the version there."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError as error:
        return NoGroup(f"no control group of its own: /proc/self/cgroup: {error.strerror}")
    paths = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    for controllers, path in paths.items():
        if "memory" in controllers.split(","):
            directory = root / _MOUNT / "memory" / path.strip("/")
            # Inside of a container the path may be that of the host, while the mount shows the container's part.
            return (directory if directory.is_dir() else root / _MOUNT / "memory"), 1
    own = root / _MOUNT / paths.get("", "").strip("/")
    above = (own.parent,) if own != root / _MOUNT and _is_delegated(own.parent) else ()
    for directory in (own, *above):
        with contextlib.suppress(OSError):
            if "memory" in (directory / "cgroup.subtree_control").read_text().split():
                return directory, 2
    return NoGroup(
        "no control group of its own: none with the memory controller was delegated to the agent "
        "(Delegate=memory and DelegateSubgroup= in its unit do, where the kernel was booted with it)"
    )


def _is_delegated(directory: Path) -> bool:
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return True
    return False


def _on_device(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"
