"""Reads ``Vitals`` from the files of a Linux kernel below a root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.fitness.vitals import ClockPolicy, ProcessorTime, ProcessWork, Seen, Vitals

__all__ = ["process_work", "processor_time", "read_vitals"]

_KIB = 1024
_POLICIES = "sys/devices/system/cpu/cpufreq"
_BOOST = (
    ("sys/devices/system/cpu/cpufreq/boost", "1"),
    ("sys/devices/system/cpu/intel_pstate/no_turbo", "0"),
)
"""File and the text that means that boost is on."""
_TIMEX_BYTES = 512
_TIME_ERROR = 5
_CLOCK_DAEMONS = ("run/systemd/timesync", "run/chrony", "run/ntpd.pid", "run/openntpd")
_NVMAP, _NVMAP_CLIENTS = "NvMapMemUsed", "sys/kernel/debug/nvmap/iovmm/clients"
_POWER_MODE = "var/lib/nvpmodel/status"
_FED_BY_OTHERS = frozenset({"Mains", "USB"})


def read_vitals(
    root: Path, monotonic_ns: int, readings: tuple[Reading, ...], runner_pids: Sequence[int] = ()
) -> Vitals:
    """Read everything once; takes a millisecond or two.

    Args:
        root: ``/`` or a recorded tree.
        monotonic_ns: the board's clock.
        readings: of the sensors, taken just now.
        runner_pids: the process whose work is of interest, and then others of ours.
    """
    memory = _table(root / "proc/meminfo")
    pages = _table(root / "proc/vmstat")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Vitals(
        monotonic_ns=monotonic_ns,
        processors=processor_time(root),
        agent_cpu_s=usage.ru_utime + usage.ru_stime,
        runner=process_work(root, runner_pids[0]) if runner_pids else None,
        companions_cpu_s=_companions_cpu_s(root, runner_pids[1:]),
        load_average_1min=_load_average(root / "proc/loadavg"),
        policies=_policies(root),
        boost=_boost(root),
        passive_trip_celsius=_passive_trip(root),
        available_memory_bytes=_sum(memory, "proc/meminfo", ("MemAvailable",), _KIB),
        accelerator_bytes=_accelerator(root, memory),
        swapped_page_count=_sum(pages, "proc/vmstat", ("pswpin", "pswpout"), 1),
        writing_bytes=_sum(memory, "proc/meminfo", ("Writeback",), _KIB),
        clock_synchronised=_clock_synchronised(root),
        power_mode=_power_mode(root / _POWER_MODE),
        on_mains=_on_mains(root / "sys/class/power_supply"),
        readings=readings,
    )


def _text(path: Path) -> Seen[str]:
    """Return the text of a file, of which nothing but its absence means that there is nothing to read."""
    try:
        return Seen(value=path.read_bytes().decode("utf-8", "replace").strip())
    except (FileNotFoundError, NotADirectoryError):
        return Seen(reason=f"no {path.name}")
    except OSError as error:
        return Seen(reason=f"{path.name}: {error.strerror}", unreadable=True)


def _number(path: Path) -> Seen[float]:
    text = _text(path)
    if text.value is None:
        return Seen(reason=text.reason, unreadable=text.unreadable)
    with contextlib.suppress(ValueError):
        return Seen(value=float(text.value))
    return Seen(reason=f"{path.name} holds {text.value[:40]!r}, no number", unreadable=True)


def _table(path: Path) -> Seen[dict[str, int]]:
    text = _text(path)
    if text.value is None:
        return Seen(reason=text.reason, unreadable=text.unreadable)
    rows = (line.split() for line in text.value.splitlines())
    return Seen(
        value={row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
    )


def _sum(table: Seen[dict[str, int]], file: str, names: Iterable[str], scale: int) -> Seen[int]:
    if table.value is None:
        return Seen(reason=table.reason, unreadable=table.unreadable)
    found = [table.value[name] for name in names if name in table.value]
    return Seen(value=sum(found) * scale) if found else Seen(reason=f"{file} has no {'/'.join(names)}")


def _accelerator(root: Path, memory: Seen[dict[str, int]]) -> Seen[int]:
    """Return what NvMap holds: a line of meminfo, or the total of its clients; drivers of later boards show neither."""
    if memory.value is not None and _NVMAP in memory.value:
        return Seen(value=memory.value[_NVMAP] * _KIB)
    clients = _text(root / _NVMAP_CLIENTS)
    for line in (clients.value or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "total" and words[-1].removesuffix("K").isdecimal():
            return Seen(value=int(words[-1].removesuffix("K")) * _KIB)
    return Seen(reason="no NvMap", unreadable=clients.unreadable)


def processor_time(root: Path) -> Seen[ProcessorTime]:
    """Return the time of all processors since boot, from ``proc/stat``."""
    text = _text(root / "proc/stat")
    if text.value is None:
        return Seen(reason=text.reason, unreadable=text.unreadable)
    tick = 1.0 / os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in text.value.splitlines() if line.startswith("cpu")]
    try:
        # user nice system idle iowait irq softirq steal; guest time is in user time already (proc(5)).
        ticks = [int(word) for word in rows[0][1:9]]
        user, nice, system, idle, waiting, irq, softirq, stolen = ticks
    except (IndexError, ValueError):
        return Seen(reason="stat has no line of processor times", unreadable=True)
    busy = user + nice + system + irq + softirq
    return Seen(
        value=ProcessorTime(
            busy_s=busy * tick,
            stolen_s=stolen * tick,
            total_s=(busy + idle + waiting + stolen) * tick,
            count=len(rows) - 1,
        )
    )


def process_work(root: Path, pid: int) -> ProcessWork | None:
    """Return what a process has done so far; None when it is gone or not below this root."""
    stat = _text(root / f"proc/{pid}/stat").value
    if stat is None:
        return None
    # The name in parentheses may hold anything; the fields are counted from behind it, the state being the third.
    fields = stat.rpartition(")")[2].split()
    try:
        ticks, faults = int(fields[11]) + int(fields[12]), int(fields[9])
    except (IndexError, ValueError):
        return None
    return ProcessWork(
        cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
        involuntary_switch_count=_switches(root / f"proc/{pid}/task"),
        major_fault_count=faults,
    )


def _companions_cpu_s(root: Path, pids: Sequence[int]) -> float | None:
    found = [work for pid in pids if (work := process_work(root, pid)) is not None]
    return sum(work.cpu_s for work in found) if len(found) == len(pids) else None


def _switches(tasks: Path) -> int | None:
    """Add up over the threads: the file of the process itself counts its first thread alone."""
    total = None
    with contextlib.suppress(OSError, ValueError):
        for task in tasks.iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("nonvoluntary_ctxt_switches:"):
                    total = (total or 0) + int(line.split()[1])
    return total


def _load_average(path: Path) -> float | None:
    text = _text(path).value
    with contextlib.suppress(ValueError, IndexError):
        return float(text.split()[0]) if text else None
    return None


def _policies(root: Path) -> Seen[tuple[ClockPolicy, ...]]:
    found = []
    for directory in sorted((root / _POLICIES).glob("policy[0-9]*"), key=lambda path: int(path.name[6:])):
        governor = _text(directory / "scaling_governor")
        low, high = (_number(directory / f"scaling_{end}_freq") for end in ("min", "max"))
        for part in (governor, low, high):
            if part.unreadable:
                return Seen(reason=f"{directory.name}: {part.reason}", unreadable=True)
        if low.value is not None and high.value is not None:
            found.append(
                ClockPolicy(
                    name=directory.name,
                    governor=governor.value or "",
                    minimum_hz=low.value * 1e3,
                    maximum_hz=high.value * 1e3,
                )
            )
        elif governor.value is not None:
            # Without limits the governor alone decides; unequal limits keep it from passing as pinned.
            found.append(
                ClockPolicy(name=directory.name, governor=governor.value, minimum_hz=0.0, maximum_hz=1.0)
            )
    if not found:
        return Seen(reason="no cpufreq policy: the clock is not under this kernel's control")
    return Seen(value=tuple(found))


def _boost(root: Path) -> Seen[bool]:
    for file, on in _BOOST:
        text = _text(root / file)
        if text.value is not None:
            return Seen(value=text.value == on)
        if text.unreadable:
            return Seen(reason=text.reason, unreadable=True)
    return Seen(reason="no switch for boost or turbo")


def _passive_trip(root: Path) -> Seen[float]:
    trips = []
    for kind in (root / "sys/class/thermal").glob("thermal_zone[0-9]*/trip_point_*_type"):
        if _text(kind).value == "passive":
            trip = _number(kind.with_name(kind.name.replace("_type", "_temp")))
            # Zero and below stand for a trip point that is switched off.
            if trip.value is not None and trip.value > 0:
                trips.append(trip.value * 1e-3)
    return Seen(value=min(trips)) if trips else Seen(reason="no passive trip point")


def _clock_synchronised(root: Path) -> Seen[bool]:
    """Ask the kernel's clock discipline; without a daemon that disciplines, its answer means nothing."""
    if root != Path("/"):
        return Seen(reason="not recorded")
    state = -1
    with contextlib.suppress(OSError, AttributeError):
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    if 0 <= state < _TIME_ERROR:
        return Seen(value=True)
    if state == _TIME_ERROR and any((root / path).exists() for path in _CLOCK_DAEMONS):
        return Seen(value=False)
    return Seen(reason="nothing on this board disciplines the wall clock")


def _power_mode(path: Path) -> Seen[str]:
    text = _text(path)
    if text.value is None:
        return Seen(reason="no nvpmodel", unreadable=text.unreadable)
    return Seen(value="".join(c for c in text.value[:80] if c.isprintable()))


def _on_mains(directory: Path) -> Seen[bool]:
    supplies = sorted(directory.glob("*"))
    fed = []
    for supply in supplies:
        kind, online, status = (_text(supply / name) for name in ("type", "online", "status"))
        if kind.unreadable or online.unreadable or status.unreadable:
            return Seen(reason=f"{supply.name} cannot be read", unreadable=True)
        if kind.value in _FED_BY_OTHERS and online.value is not None:
            fed.append(online.value != "0")
        elif kind.value == "Battery" and status.value == "Discharging":
            return Seen(value=False)
    return Seen(value=any(fed)) if fed else Seen(reason="no power supply that says whether it is on line")
