"""One look at everything that decides whether figures of this moment can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeloop_protocol.types.measurement import Reading

__all__ = [
    "ClockPolicy",
    "ProcessWork",
    "ProcessorTime",
    "Seen",
    "Vitals",
    "events_of",
    "frequency_of",
    "temperature_of",
    "throttled_now",
]

V = TypeVar("V")

_THROTTLE = ("throttle", "jetson_throttle")
"""Sensors whose every event slows the processor. Over-current counters are left out: some boards count all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[V]):
    """An answer, or none because there is nothing to ask, or none because it could not be read."""

    #: The answer; absent otherwise.
    value: V | None = None
    #: Why there is none.
    reason: str = "this board does not tell"
    #: True when the facility is there and could not be read.
    unreadable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorTime:
    """Time of all processors together since boot, in seconds."""

    #: Spent on anything.
    busy_s: float
    #: Given to others by a hypervisor while something here wanted to run.
    stolen_s: float
    #: All of it, idle time included.
    total_s: float
    #: Processors that are on line.
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessWork:
    """What one process has done so far."""

    #: Processor time of all its threads, in seconds.
    cpu_s: float
    #: Times it was made to wait for a processor; absent when unreadable.
    involuntary_switch_count: int | None = None
    #: Page faults that had to wait for a disk.
    major_fault_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockPolicy:
    """One group of processors that share a clock."""

    #: For example "policy0".
    name: str
    #: Frequency governor; empty where the policy has none.
    governor: str
    #: Lowest clock that is allowed.
    minimum_hz: float
    #: Highest clock that is allowed.
    maximum_hz: float

    @property
    def fixed(self) -> bool:
        """Whether the clock does not follow the load."""
        return self.governor == "performance" or self.minimum_hz == self.maximum_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """The state of a device at one moment; whatever this device does not tell is absent with the reason."""

    #: Monotonic clock of the board.
    monotonic_ns: int
    #: Time of all processors.
    processors: Seen[ProcessorTime] = Seen()
    #: What the agent itself has used of it.
    agent_cpu_s: float = 0.0
    #: The runner, when one was asked about and can be read.
    runner: ProcessWork | None = None
    #: What further runners of ours have used; absent when one of them cannot be read.
    companions_cpu_s: float | None = 0.0
    #: Load average over one minute.
    load_average_1min: float | None = None
    #: Groups of processors with their governors and limits.
    policies: Seen[tuple[ClockPolicy, ...]] = Seen()
    #: Whether clocks above the nominal one are allowed.
    boost: Seen[bool] = Seen()
    #: Lowest temperature at which the kernel slows the processor.
    passive_trip_celsius: Seen[float] = Seen()
    #: Memory for a new process.
    available_memory_bytes: Seen[int] = Seen()
    #: Memory that an accelerator holds of the board's (NvMap of a Jetson).
    accelerator_bytes: Seen[int] = Seen()
    #: Pages swapped in or out since boot.
    swapped_page_count: Seen[int] = Seen()
    #: Bytes that are being written to disks now.
    writing_bytes: Seen[int] = Seen()
    #: Whether the wall clock is disciplined.
    clock_synchronised: Seen[bool] = Seen()
    #: Named power mode, for example of nvpmodel.
    power_mode: Seen[str] = Seen()
    #: Whether the board is fed by something else than a battery.
    on_mains: Seen[bool] = Seen()
    #: Periods, stopped periods and seconds stopped by the scheduler's quota of the runner; absent without a quota.
    quota_time: tuple[int, int, float] | None = None
    #: Sensors.
    readings: tuple[Reading, ...] = ()

    @property
    def governors(self) -> str:
        """Governors in force, joined by a comma where they differ; empty without any."""
        return ",".join(sorted({policy.governor for policy in self.policies.value or ()} - {""}))

    @property
    def fixed_clock(self) -> bool:
        """Whether no clock follows the load; False when that is not known."""
        return bool(self.policies.value) and all(policy.fixed for policy in self.policies.value or ())


def _of(readings: Iterable[Reading], sensor: str, channel: str = "") -> list[Reading]:
    return [r for r in readings if r.name.startswith(f"{sensor}/") and r.name.endswith(channel)]


def temperature_of(readings: Iterable[Reading]) -> Seen[float]:
    """Return the hottest thermal zone."""
    zones = [r for r in readings if r.name.partition("/")[0] == "thermal"]
    values = [zone.value for zone in zones if zone.value is not None]
    if values:
        return Seen(value=max(values))
    # A zone that is switched off is no reason to distrust the others, but if none can be read, something is there.
    return Seen(reason=zones[0].reason, unreadable=True) if zones else Seen(reason="no thermal zone")


def frequency_of(readings: Iterable[Reading]) -> float | None:
    """Return the highest clock that any policy reports."""
    found = [r.value for r in _of(readings, "cpufreq", "/current") if r.value is not None]
    return max(found, default=None)


def throttled_now(readings: Iterable[Reading]) -> Seen[tuple[str, ...]]:
    """Return the names of the throttle states that hold now."""
    mine = [r for r in readings if r.name.partition("/")[0] in _THROTTLE]
    states = [r for r in mine if r.name.endswith("_now")]
    # A detector that the board was never given is no failure of the sensor.
    failed = next((r for r in mine if r.value is None and not r.reason.startswith("absent")), None)
    if failed is not None:
        return Seen(reason=failed.reason, unreadable=True)
    if not states:
        reason = "this board counts throttle events only" if mine else "no throttle sensor"
        return Seen(reason=reason)
    return Seen(value=tuple(r.name.rpartition("/")[2].removesuffix("_now") for r in states if r.value))


def events_of(readings: Iterable[Reading]) -> float | None:
    """Return a number that rises with every throttle event; absent without a sensor that counts or remembers."""
    lasting = [
        r.value
        for sensor in _THROTTLE
        for r in _of(readings, sensor)
        if not r.name.endswith("_now") and r.value is not None
    ]
    return sum(lasting) if lasting else None
