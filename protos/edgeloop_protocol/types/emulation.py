"""Resources narrower than the machine's, under which the real runtime is measured: asked for, and read back.

Memory budget: most that a runner process may be charged for, swap included; pages of libraries that another process
had touched first are not charged. Processors: how many it may run on. Compute scale: share of each of its threads'
processor time that it gets, by a quota of the kernel's scheduler. The quota stops the runner for part of every period
and lets it run at full speed in between. So the mean latency, and with it the throughput, is that of a processor slower
by this factor, but single latencies fall into two groups: inferences shorter than what the quota grants in one period
are mostly as fast as ever, and their percentiles say nothing. Caches, memory bandwidth and instruction set stay the
machine's; a board whose memory is slow too is not emulated by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["COMPUTE_MIN", "MEMORY_BYTES_MIN", "Emulation", "EmulationReading"]

MEMORY_BYTES_MIN = 32 << 20
"""A runner that has loaded nothing takes about this much; below it every model fails."""

COMPUTE_MIN = 0.05
"""The kernel grants at least 1 ms a period: below this the stops would last longer than 20 ms."""

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(KiB|MiB|GiB|kB|MB|GB)", re.ASCII)
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """What was asked for; at least one of the three is limited."""

    #: Memory of a runner, swap included; absent when it is not limited.
    memory_bytes: int | None = None
    #: Processors that a runner may use; absent when they are not limited.
    processor_count: int | None = None
    #: Share of each thread's processor time, above 0 and below 1; absent when it is not limited.
    compute_fraction: float | None = None

    @classmethod
    def parse(cls, memory: str, cpus: str, compute: str) -> Emulation | None:
        """Read the text forms, for example "512MiB", "1" and "0.5"; empty ones limit nothing.

        Returns:
            The limits, or None when nothing is limited.

        Raises:
            InvalidInputError: a text is none of the allowed ones.
        """
        fraction = _compute(compute) if compute else None
        found = cls(
            memory_bytes=_memory(memory) if memory else None,
            processor_count=_cpus(cpus) if cpus else None,
            # All of the processor time is no limit.
            compute_fraction=None if fraction == 1.0 else fraction,
        )
        return None if found == cls() else found

    @property
    def text(self) -> str:
        """For people, for example "memory 512 MiB, 1 processor, compute 0.5"."""
        parts = []
        if self.memory_bytes is not None:
            parts.append(f"memory {self.memory_bytes / (1 << 20):.10g} MiB")
        if self.processor_count is not None:
            parts.append(f"{self.processor_count} processor{'s' if self.processor_count > 1 else ''}")
        if self.compute_fraction is not None:
            parts.append(f"compute {self.compute_fraction:g}")
        return ", ".join(parts)


def _memory(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    bytes_ = int(float(match[1]) * _UNITS[match[2]]) // _PAGE_BYTES * _PAGE_BYTES if match else 0
    if bytes_ < MEMORY_BYTES_MIN:
        raise InvalidInputError(
            f"memory is {text!r}; allowed is a size of at least {MEMORY_BYTES_MIN >> 20}MiB with its unit "
            f"({', '.join(_UNITS)}).",
            next_step="Write for example 512MiB.",
        )
    return bytes_


def _cpus(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise InvalidInputError(
            f"cpus is {text!r}; allowed is a whole number of processors from 1.",
            next_step="Write for example 1; a part of a processor is compute.",
        )
    return int(text)


def _compute(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not COMPUTE_MIN <= value <= 1.0:
        raise InvalidInputError(
            f"compute is {text!r}; allowed is a number from {COMPUTE_MIN:g} to 1, the share of processor time.",
            next_step="Write for example 0.5 for half the speed.",
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulationReading:
    """The limits as a runner found them on itself, from inside."""

    #: Version of the control groups that hold it, 1 or 2; absent when it is held by its affinity alone.
    cgroup_version: int | None = None
    #: Limit of its memory; absent without one.
    memory_bytes: int | None = None
    #: Processors that it may run on.
    processor_count: int
    #: Processor time per period of the scheduler's quota; absent without a quota.
    quota_s: float | None = None
    #: Length of that period.
    period_s: float | None = None
    #: What the quota did to the steady phases, in one sentence; empty without a quota.
    note: str = ""
