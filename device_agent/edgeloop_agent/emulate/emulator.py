"""Puts every runner of an agent into a share of the machine, and marks the device as what it then is."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.convert import digest_of
from edgeloop_protocol.types.emulation import Emulation, EmulationReading
from edgeloop_protocol.types.facts import Facts

from edgeloop_agent.emulate.group import RunnerGroup, Share
from edgeloop_agent.emulate.places import Place, find_places

__all__ = ["Emulator"]

_log = logging.getLogger(__name__)

_PREFIX = "edgeloop-emulated"
_PERIOD_US = 4_000
"""The shortest that a kernel of 250 ticks a second keeps to; with the usual 100 ms a runner of 5 ms would mostly run
at full speed and then stand still for long."""
_QUOTA_US_MIN = 1_000
"""The least that the kernel accepts; a smaller share gets a longer period."""


class Emulator:
    """Makes the groups of the runners.

    Args:
        asked: the limits.
        root: where ``/proc`` and ``/sys`` are.
        usable: processors that the agent may use; this process's affinity when not given.

    Raises:
        UnsupportedError: a limit cannot be held on this machine; the message names it.
    """

    def __init__(self, asked: Emulation, root: Path = Path("/"), usable: Sequence[int] | None = None) -> None:
        self.asked = asked
        self._root = root
        usable = sorted(os.sched_getaffinity(0)) if usable is None else sorted(usable)
        if (asked.processor_count or 0) > len(usable):
            raise UnsupportedError(
                f"cpus is {asked.processor_count}; this machine offers {len(usable)}.",
                next_step=f"Ask for at most {len(usable)}.",
            )
        # The last ones: interrupts mostly arrive at the first.
        self._processors = tuple(usable[-asked.processor_count :]) if asked.processor_count else tuple(usable)
        self._places = self._find_places()
        self._owner = f"{_PREFIX}-{os.getpid()}-{_begin_of(root, os.getpid())}"
        self._sweep()
        if self._places:
            self._try_once()

    def _find_places(self) -> tuple[Place, ...]:
        needed = {"memory": self.asked.memory_bytes, "cpu": self.asked.compute_fraction}
        places, missing = find_places(
            self._root, [name for name, limit in needed.items() if limit is not None]
        )
        if missing:
            said = {"memory": "memory (a memory budget)", "cpu": "cpu (a compute scale)"}
            what = " and ".join(said[name] for name in sorted(missing))
            raise UnsupportedError(
                f"no control group can be made here with the controller {what}.",
                next_step="Run it as root or in a delegated group (Delegate=yes), or leave that limit out.",
            )
        if self.asked.processor_count and not any(place.version == 2 for place in places):
            # Affinity holds without rights; a cpuset also against a process that would widen its own.
            places += find_places(self._root, ["cpuset"])[0]
        return places

    def _try_once(self) -> None:
        """Make a group and remove it: what the kernel refuses is known before anything is measured."""
        try:
            self._make(1).remove()
        except OSError as error:
            raise UnsupportedError(
                f"the limits {self.asked.text} cannot be set: {error.filename or 'control group'}: {error.strerror}.",
                next_step="Run it as root or in a delegated group (Delegate=yes), or leave that limit out.",
            ) from error

    def share(self, threads: int) -> Share:
        """Return the limits of a runner with so many threads: each gets its part of one processor."""
        fraction = self.asked.compute_fraction
        running = max(1, min(threads, len(self._processors)))
        period = _PERIOD_US
        if fraction is not None:
            period = max(_PERIOD_US, math.ceil(_QUOTA_US_MIN / (fraction * running)))
        return Share(
            memory_bytes=self.asked.memory_bytes,
            processors=self._processors if self.asked.processor_count else None,
            quota_us=None if fraction is None else round(fraction * running * period),
            period_us=0 if fraction is None else period,
        )

    def _make(self, threads: int) -> RunnerGroup:
        return RunnerGroup.make(self._places, f"{self._owner}-{secrets.token_hex(4)}", self.share(threads))

    def make_group(self, threads: int) -> RunnerGroup:
        """Make the groups of a runner with so many threads.

        Raises:
            OSError: the kernel refuses.
        """
        return self._make(threads)

    def place(self, pid: int) -> None:
        """Set a runner's affinity before it has threads; gone already is no error, its frames will tell."""
        if self.asked.processor_count:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(pid, self._processors)

    def disagreement(self, seen: EmulationReading, threads: int) -> str:
        """Return what a runner reads otherwise than it was asked, in one clause; empty when all agrees."""
        share = self.share(threads)
        pairs: list[tuple[str, float | None, float | None]] = [
            ("a memory limit in bytes", share.memory_bytes, seen.memory_bytes),
            ("processors", len(self._processors), seen.processor_count),
            ("a quota in microseconds", share.quota_us, _us(seen.quota_s)),
        ]
        if share.quota_us is not None:
            pairs.append(("a period in microseconds", share.period_us, _us(seen.period_s)))
        told = [
            f"{what}: asked {asked}, read {read}" for what, asked, read in pairs if asked not in (None, read)
        ]
        return "; ".join(told)

    def mark(self, facts: Facts) -> Facts:
        """Return the facts of the emulated device, which is another one than this machine."""
        hardware = facts.hardware
        count = self.asked.processor_count or hardware.logical_cores
        hardware = replace(
            hardware,
            logical_cores=count,
            physical_cores=hardware.physical_cores and min(hardware.physical_cores, count),
            memory_total_bytes=min(
                hardware.memory_total_bytes, self.asked.memory_bytes or hardware.memory_total_bytes
            ),
        )
        key = f"emulated\n{facts.device_id}\n{digest_of(self.asked)}"
        device_id = hashlib.sha256(key.encode()).hexdigest()[:32]
        return replace(facts, device_id=device_id, hardware=hardware, emulation=self.asked)

    def _sweep(self) -> None:
        """Remove the groups that agents left behind which were killed; those of living ones stay."""
        for place in self._places:
            for directory in place.directory.glob(f"{_PREFIX}-*-*-*"):
                pid, begin = directory.name.removeprefix(f"{_PREFIX}-").split("-")[:2]
                if pid.isdecimal() and _begin_of(self._root, int(pid)) != begin:
                    try:
                        directory.rmdir()
                    except OSError as error:
                        _log.warning("the control group %s stays: %s", directory, error)


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _begin_of(root: Path, pid: int) -> str:
    """Return when a process began, in ticks since boot, which tells it from a later one of its number."""
    try:
        return (root / f"proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
