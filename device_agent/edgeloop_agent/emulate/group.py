"""The control groups of one runner: made with their limits, entered by the runner before it is Python, then removed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_agent.emulate.places import Place

__all__ = ["QuotaTime", "RunnerGroup", "Share"]

_log = logging.getLogger(__name__)

_ENTER = 'set -e; while [ "$1" != -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'
_NS_PER_S, _US_PER_S = 1e9, 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Limits of one runner in the kernel's units; absent ones are not set."""

    #: Memory, swap included.
    memory_bytes: int | None = None
    #: Processors by number.
    processors: tuple[int, ...] | None = None
    #: Processor time per period, microseconds.
    quota_us: int | None = None
    #: Length of that period, microseconds.
    period_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaTime:
    """What the scheduler's quota has done to a runner so far."""

    #: Periods in which the runner wanted to run.
    period_count: int
    #: Those in which it was stopped.
    throttled_count: int
    #: Time that its processors were stopped for.
    throttled_s: float


class RunnerGroup:
    """One group per place, all of one name."""

    def __init__(self, directories: Sequence[tuple[Path, Place]]) -> None:
        self._directories = tuple(directories)

    @classmethod
    def make(cls, places: Sequence[Place], name: str, share: Share) -> RunnerGroup:
        """Make the groups and set their limits.

        Raises:
            OSError: the kernel refuses; nothing of it stays.
        """
        group = cls([(place.directory / name, place) for place in places])
        try:
            for directory, place in group._directories:
                directory.mkdir()
                _limit(directory, place, share)
        except OSError:
            group.remove()
            raise
        return group

    def entering(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the command that enters the groups first, so that all of the program's life is charged to them."""
        files = [str(directory / "cgroup.procs") for directory, _ in self._directories]
        return ("/bin/sh", "-c", _ENTER, "sh", *files, "--", *argv)

    def memory_directory(self) -> tuple[Path, int] | None:
        """Return the group that counts memory, and its version."""
        found = (d for d in self._directories if "memory" in d[1].controllers)
        return next(((directory, place.version) for directory, place in found), None)

    @property
    def version_2(self) -> bool:
        """Whether one of the groups is of version 2, where a process is in one group alone."""
        return any(place.version == 2 for _, place in self._directories)

    def quota_time(self) -> QuotaTime | None:
        """Return the counters of the quota; None where there is none."""
        for directory, place in self._directories:
            if "cpu" in place.controllers:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    return _quota_time((directory / "cpu.stat").read_text())
        return None

    def oom_kill_count(self) -> int | None:
        """Return how many of its processes the kernel killed for lack of memory; None without a memory group."""
        found = self.memory_directory()
        if found is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError):
            file = "memory.oom_control" if found[1] == 1 else "memory.events"
            return _table((found[0] / file).read_text())["oom_kill"]
        return None

    def remove(self) -> None:
        """Remove what was made; a group that still has a process stays, and is named in the log."""
        for directory, _ in self._directories:
            try:
                directory.rmdir()
            except FileNotFoundError:  # noqa: PERF203 - one that stays must not keep the others
                continue
            except OSError as error:
                _log.warning("the control group %s stays: %s", directory, error)


def _limit(directory: Path, place: Place, share: Share) -> None:
    if "memory" in place.controllers and share.memory_bytes is not None:
        _limit_memory(directory, place.version, share.memory_bytes)
    if "cpu" in place.controllers and share.quota_us is not None:
        if place.version == 1:
            (directory / "cpu.cfs_period_us").write_text(f"{share.period_us}\n")
            (directory / "cpu.cfs_quota_us").write_text(f"{share.quota_us}\n")
        else:
            (directory / "cpu.max").write_text(f"{share.quota_us} {share.period_us}\n")
    if "cpuset" in place.controllers and share.processors is not None:
        if place.version == 1:
            # A new group of version 1 has no memory nodes, and nothing may enter it before it has.
            (directory / "cpuset.mems").write_text((place.directory / "cpuset.mems").read_text())
        (directory / "cpuset.cpus").write_text(",".join(map(str, share.processors)) + "\n")


def _limit_memory(directory: Path, version: int, memory_bytes: int) -> None:
    """Limit memory and swap together; where the kernel keeps no account of swap, none may be used at all."""
    if version == 1:
        (directory / "memory.limit_in_bytes").write_text(f"{memory_bytes}\n")
        if (directory / "memory.memsw.limit_in_bytes").exists():
            (directory / "memory.memsw.limit_in_bytes").write_text(f"{memory_bytes}\n")
        else:
            (directory / "memory.swappiness").write_text("0\n")
        return
    (directory / "memory.max").write_text(f"{memory_bytes}\n")
    if (directory / "memory.swap.max").exists():
        (directory / "memory.swap.max").write_text("0\n")


def _table(text: str) -> dict[str, int]:
    return {row[0]: int(row[1]) for line in text.splitlines() if len(row := line.split()) == 2}


def _quota_time(text: str) -> QuotaTime:
    table = _table(text)
    seconds = (
        table["throttled_time"] / _NS_PER_S
        if "throttled_time" in table
        else table["throttled_usec"] / _US_PER_S
    )
    return QuotaTime(
        period_count=table["nr_periods"], throttled_count=table["nr_throttled"], throttled_s=seconds
    )
