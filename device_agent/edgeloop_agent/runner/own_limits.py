"""The limits of this process as it finds them itself, below an injected root."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgeloop_protocol.types.emulation import EmulationReading

__all__ = ["read_own_limits"]

_MOUNT = "sys/fs/cgroup"
_UNLIMITED_BYTES = 1 << 62
"""Version 1 says "no limit" by a number near the largest one."""


def read_own_limits(root: Path = Path("/"), processor_count: int | None = None) -> EmulationReading:
    """Return memory limit, processors and quota of this process.

    Args:
        root: ``/`` or a recorded tree.
        processor_count: processors it may run on; this process's affinity when not given.
    """
    groups = _groups(root)
    versions = {version for _, version in groups.values()}
    quota_us, period_us = _quota(groups.get("cpu"))
    return EmulationReading(
        cgroup_version=max(versions) if versions else None,
        memory_bytes=_memory(groups.get("memory")),
        processor_count=len(os.sched_getaffinity(0)) if processor_count is None else processor_count,
        quota_s=None if quota_us is None else quota_us / 1e6,
        period_s=None if quota_us is None else period_us / 1e6,
    )


def _groups(root: Path) -> dict[str, tuple[Path, int]]:
    """Return this process's group of memory and of cpu with its version."""
    found: dict[str, tuple[Path, int]] = {}
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        relative = path.strip().strip("/")
        for controller in ("memory", "cpu"):
            if controller in names.split(","):
                mounts = (root / _MOUNT / names / relative, root / _MOUNT / controller / relative)
                found[controller] = (next((d for d in mounts if d.is_dir()), mounts[1]), 1)
            elif not names:
                found.setdefault(controller, (root / _MOUNT / relative, 2))
    return {name: group for name, group in found.items() if group[0].is_dir()}


def _memory(group: tuple[Path, int] | None) -> int | None:
    if group is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        value = int((group[0] / ("memory.limit_in_bytes", "memory.max")[group[1] - 1]).read_text())
        return value if value < _UNLIMITED_BYTES else None
    return None


def _quota(group: tuple[Path, int] | None) -> tuple[int | None, int]:
    if group is None:
        return None, 0
    directory, version = group
    with contextlib.suppress(OSError, ValueError):
        if version == 1:
            quota = int((directory / "cpu.cfs_quota_us").read_text())
            return (quota, int((directory / "cpu.cfs_period_us").read_text())) if quota > 0 else (None, 0)
        quota_text, period_text = (directory / "cpu.max").read_text().split()
        return int(quota_text), int(period_text)
    return None, 0
