"""The state of the device around a run, read from files below an injected root."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.conditions import Conditions

from edgeloop_agent.sensors import SensorSet
from edgeloop_agent.sensors.cpufreq import governor

__all__ = ["read_conditions"]

_TIMEX_BYTES = 512
_TIME_ERROR = 5


def read_conditions(
    root: Path, state_directory: Path, fs: FileSystem, clock: Clock, sensors: SensorSet
) -> Conditions:
    """Return clocks, load, memory, disk, governor and every sensor's readings; absent is None."""
    return Conditions(
        wall_time_s=clock.wall_s(),
        monotonic_ns=clock.monotonic_ns(),
        clock_synchronised=_clock_synchronised() if root == Path("/") else None,
        load_average_1min=_load_average(root),
        available_memory_bytes=_available_memory(root),
        free_disk_bytes=_free_disk(fs, state_directory),
        governor=governor(root),
        readings=sensors.read(),
    )


def _clock_synchronised() -> bool | None:
    """Ask the kernel's clock discipline; reading needs no rights."""
    with contextlib.suppress(OSError, AttributeError):
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
        return None if state < 0 else state != _TIME_ERROR
    return None


def _load_average(root: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float((root / "proc/loadavg").read_text().split()[0])
    return None


def _available_memory(root: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _free_disk(fs: FileSystem, directory: Path) -> int | None:
    with contextlib.suppress(OSError):
        return fs.free_bytes(directory)
    return None
