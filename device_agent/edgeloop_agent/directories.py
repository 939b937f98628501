"""Directories of the agent: names that two rooms share, and such that are still there after a power cut."""

from __future__ import annotations

from pathlib import Path

from edgeloop_foundation.ports.fs import FileSystem

__all__ = ["SCRATCH", "SIMULATED_SYSTEM", "make_durable_directory"]

SCRATCH = "scratch"
"""Below the state directory: one directory per runner, removed with it, or at the next start of the agent."""

SIMULATED_SYSTEM = "simulated_system"
"""Below the state directory: what stands for "/" on a simulated board."""


def make_durable_directory(fs: FileSystem, path: Path) -> None:
    """Create a directory and its parents, and sync every directory that got a new entry.

    Without it, a power cut takes away a new directory with everything that was synced inside it.
    """
    missing = [directory for directory in (path, *path.parents) if not fs.exists(directory)]
    fs.make_directory(path)
    for directory in reversed(missing):
        fs.sync_directory(directory.parent)
