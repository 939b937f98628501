"""What keeps a runner in: resource limits and process flags, each probed after it was set, and the sandbox."""

from __future__ import annotations

import _thread
import ctypes
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass

from edgeloop_protocol.types.outcome import Isolation

from edgeloop_agent.runner.sandbox.enter import Bounds, Confinement

__all__ = ["FILE_BYTES", "Entry", "Limits", "enter"]

FILE_BYTES = 64 << 20
"""Largest file that a runner may write."""

_OPEN_FILES = 64
# Between SIGXCPU, which says why, and SIGKILL, which nothing survives.
_CPU_GRACE_S = 5
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one runner process; 0 leaves a limit as it is."""

    #: Address space.
    memory_bytes: int = 0
    #: Processor time, all threads together.
    cpu_s: int = 0
    #: The agent's process: the runner dies with it.
    parent_pid: int = 0
    #: Threads and processes; it holds in a user namespace or an account of its own, for another user than root.
    task_count: int = 0
    #: Largest file.
    file_bytes: int = FILE_BYTES
    #: Open files, connections among them.
    open_files: int = _OPEN_FILES


class Entry:
    """The way under the limits and into the sandbox, in two steps: a server opens its listeners between them.

    Files that only a dumpable process may open, such as ``/proc/self/clear_refs``, have to be open before.
    """

    def __init__(self, limits: Limits, bounds: Bounds | None = None) -> None:
        self._limits = limits
        self._confinement = Confinement(bounds or Bounds(tier="process"))
        self._layers: dict[str, bool] = {}

    def begin(self) -> None:
        """Take what has to be taken before the first thread starts."""
        limits = self._limits
        self._layers = {
            "rlimit_core": _limit(resource.RLIMIT_CORE, 0),
            "rlimit_fsize": _limit(resource.RLIMIT_FSIZE, limits.file_bytes),
            "rlimit_nofile": _limit(resource.RLIMIT_NOFILE, limits.open_files),
            "rlimit_as": bool(limits.memory_bytes) and _limit(resource.RLIMIT_AS, limits.memory_bytes),
            "rlimit_cpu": bool(limits.cpu_s) and _limit(resource.RLIMIT_CPU, limits.cpu_s, _CPU_GRACE_S),
            "no_new_privs": _flag(_PR_SET_NO_NEW_PRIVS, 1, lambda: _get(_PR_GET_NO_NEW_PRIVS) == 1),
        }
        self._confinement.begin()
        # Nobody else starts a thread yet, which the bound of one would keep from it.
        count = limits.task_count
        self._layers["rlimit_nproc"] = bool(count and self._confinement.counts_own_tasks) and _limit_tasks(
            count
        )

    def close(self) -> Isolation:
        """Take the rest, and say which layers hold."""
        tier, confined, reason = self._confinement.close()
        layers = self._layers | confined
        # Entering namespaces undoes the one, and needs files that the other takes away.
        layers["not_dumpable"] = _flag(_PR_SET_DUMPABLE, 0, lambda: _get(_PR_GET_DUMPABLE) == 0)
        layers["dies_with_parent"] = _die_with(self._limits.parent_pid)
        return Isolation(tier=tier, layers=tuple(sorted(layers.items())), reason=reason)


def enter(limits: Limits, bounds: Bounds | None = None) -> Isolation:
    """Put this process under ``limits``, confine it within ``bounds``, and say which layers hold.

    Without bounds it is not confined at all.
    """
    entry = Entry(limits, bounds)
    entry.begin()
    return entry.close()


def _limit(kind: int, value: int, grace: int = 0) -> bool:
    _, hard = resource.getrlimit(kind)
    ceiling = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
    soft = min(value, ceiling)
    try:
        resource.setrlimit(kind, (soft, ceiling))
    except (OSError, ValueError):
        return False
    return resource.getrlimit(kind) == (soft, ceiling)


def _limit_tasks(count: int) -> bool:
    """Bound the tasks of this process's user namespace or account, which a bound of one has to show first.

    Elsewhere the bound would count every process of the user, those of strangers included, and be no bound of ours.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    bound = count if hard == resource.RLIM_INFINITY else min(count, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, bound))
        held = not _starts_a_thread()
        resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))
    except (OSError, ValueError):
        return False
    return held


def _starts_a_thread() -> bool:
    lock = _thread.allocate_lock()
    lock.acquire()
    try:
        _thread.start_new_thread(lock.release, ())
    except RuntimeError:
        return False
    lock.acquire()
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _get(option: int) -> int:
    return int(_libc().prctl(option, 0, 0, 0, 0))


def _flag(option: int, value: int, holds: Callable[[], bool]) -> bool:
    _libc().prctl(option, value, 0, 0, 0)
    return holds()


def _die_with(parent_pid: int) -> bool:
    """Ask for SIGKILL when the agent dies; leave at once if it died before we could ask."""
    if not parent_pid:
        return False
    _libc().prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit(1)
    found = ctypes.c_int(0)
    _libc().prctl(_PR_GET_PDEATHSIG, ctypes.byref(found), 0, 0, 0)
    return found.value == signal.SIGKILL
