"""What holds a process that opens models from outside of it: the tier it must have, its tasks, its resident memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeloop_protocol.types.deployment import ModelLimits
from edgeloop_protocol.types.run import FailureKind, Isolation, Outcome

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.isolation_policy import IsolationPolicy, check_isolation
from edgeloop_agent.task_group import NoTaskGroup, TaskGroup

__all__ = ["STEP_S_MAX", "Containment", "resident_bytes", "task_count"]

STEP_S_MAX = 120.0
"""Longest load or run of a release for which nothing was signed."""

_TASKS = 64
_TASKS_PER_PROCESSOR = 4
_LOOK_EVERY_S = 0.1


def task_count(limits: ModelLimits) -> int:
    """Return the most threads and processes: what was signed, or what several runtimes side by side would not reach."""
    return limits.process_count_max or _TASKS + _TASKS_PER_PROCESSOR * (os.cpu_count() or 1)


def resident_bytes(root: Path, pid: int) -> int | None:
    """Return the resident memory of a process; None once it is gone."""
    try:
        pages = (root / "proc" / str(pid) / "statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Containment:
    """The bounds of one process.

    Args:
        root: where ``/proc`` and ``/sys`` are.
        policy: what the agent was told.
        limits: what was signed; nothing for a job.
        group: bounds its tasks.
    """

    def __init__(
        self, root: Path, policy: IsolationPolicy, limits: ModelLimits, group: TaskGroup | NoTaskGroup
    ) -> None:
        self._root, self._policy, self._limits, self._group = root, policy, limits, group
        self._watch: asyncio.Task[None] | None = None
        #: Why it was killed from here; empty when it was not.
        self.passed = ""

    def admit(self, isolation: Isolation, pid: int) -> Isolation:
        """Refuse what is held too little, and return what holds it, the bound of its tasks included.

        Raises:
            RunnerFailure: its tier lies below what the agent was told or what was signed, or nothing bounds its tasks
                as was signed.
        """
        check_isolation(isolation, self._policy.minimum)
        check_isolation(isolation, self._limits.isolation, signed=True, most=self._policy.tier)
        held = self._group.hold(pid)
        layers = {**dict(isolation.layers), "cgroup_pids": held}
        if self._limits.process_count_max and not (held or layers.get("rlimit_nproc")):
            raise RunnerFailure(
                Outcome.UNSUPPORTED,
                FailureKind.UNFIT_DEVICE,
                f"at most {self._limits.process_count_max} threads and processes are signed, and nothing bounds them "
                f"here: {self._group.reason or 'the control group does not hold'}; RLIMIT_NPROC holds in a user "
                "namespace of a user other than root. Run the agent as its own user, or give it a control group "
                "(Delegate=pids in its unit).",
            )
        return replace(isolation, layers=tuple(sorted(layers.items())))

    def bound_tasks(self, count: int) -> None:
        """Change how many threads and processes it may have, where a control group bounds them; blocks."""
        self._group.bound(count)

    def watch(self, pid: int, kill: Callable[[], None]) -> None:
        """Kill it from now on as soon as its resident memory passes what was signed."""
        if self._limits.memory_bytes_max and self._watch is None:
            self._watch = asyncio.create_task(self._look(pid, kill), name=f"resident memory of {pid}")

    async def _look(self, pid: int, kill: Callable[[], None]) -> None:
        bound = self._limits.memory_bytes_max
        while (taken := await asyncio.to_thread(resident_bytes, self._root, pid)) is not None:
            if taken > bound:
                self.passed = (
                    f"its resident memory of {taken} bytes passed the signed {bound}; it was killed."
                )
                kill()
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def remove(self) -> None:
        """Let go of it once it is dead; safe to call twice."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait({watch})
        group, self._group = self._group, NoTaskGroup("the process is gone")
        await asyncio.to_thread(group.remove)
