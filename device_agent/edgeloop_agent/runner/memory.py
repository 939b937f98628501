"""Memory of this process as the kernel accounts for it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["MemoryReading", "ProcessMemory"]

_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """Memory at one moment; what cannot be read is absent and ``reason`` says why."""

    #: Resident set.
    rss_bytes: int | None
    #: Peak resident set since the last reset, or since the start when there was none.
    peak_rss_bytes: int | None
    #: Proportional set size.
    pss_bytes: int | None
    #: Anonymous part of the resident set.
    anonymous_bytes: int | None
    #: File-backed part of the resident set.
    file_bytes: int | None
    #: How the figures were read.
    method: str
    #: Why a figure is missing; empty when all are there.
    reason: str

    def as_header(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


class ProcessMemory:
    """Reads ``/proc/self``; built before the process is made not dumpable: clear_refs is root's then."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._proc = proc
        self._peak_problem = ""
        try:
            self._clear_refs: int | None = os.open(proc / "clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._clear_refs = None
            self._reset_problem = f"the peak cannot be reset: {proc}/clear_refs: {error.strerror}"

    def reset_peak(self) -> bool:
        """Start a new peak; on failure every later peak is absent, because it would cover too much."""
        if self._clear_refs is not None:
            try:
                # 5 sets the peak resident set back to the current one (proc(5), Linux 4.0).
                os.pwrite(self._clear_refs, b"5", 0)
                return True
            except OSError as error:
                self._reset_problem = f"the peak cannot be reset: {error.strerror}"
        self._peak_problem = self._reset_problem
        return False

    def read(self) -> MemoryReading:
        """Read everything that this kernel tells."""
        problems = [self._peak_problem] if self._peak_problem else []
        status = self._table("status", problems)
        rollup = self._table("smaps_rollup", problems)
        anonymous = rollup.get("Anonymous", status.get("RssAnon"))
        rss = rollup.get("Rss", status.get("VmRSS"))
        peak = status.get("VmHWM")
        return MemoryReading(
            rss_bytes=rss,
            # The counters behind VmHWM lag by some pages, so that it may lie below the exact sum.
            peak_rss_bytes=None if self._peak_problem or peak is None else max(peak, rss or 0),
            pss_bytes=rollup.get("Pss"),
            anonymous_bytes=anonymous,
            file_bytes=None if rss is None or anonymous is None else rss - anonymous,
            method="smaps_rollup; VmHWM reset through clear_refs" if rollup else "status",
            reason="; ".join(problems),
        )

    def _table(self, name: str, problems: list[str]) -> dict[str, int]:
        try:
            text = (self._proc / name).read_text()
        except OSError as error:
            problems.append(f"{self._proc}/{name}: {error.strerror}")
            return {}
        rows = (line.split() for line in text.splitlines())
        return {row[0].rstrip(":"): int(row[1]) * _KIB for row in rows if len(row) == 3 and row[2] == "kB"}
