"""The state of a device around and during a run: conditions, fitness to measure, what went on meanwhile."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Reading

__all__ = [
    "Anomaly",
    "AnomalyKind",
    "CheckAnswer",
    "Conditions",
    "Phase",
    "Preflight",
    "PreflightCheck",
    "Rest",
    "Watch",
]


class CheckAnswer(enum.Enum):
    """What one preflight check found."""

    FIT = "fit"
    UNFIT = "unfit"
    #: The device has no such facility, so that there is nothing to ask: recorded, not held against it.
    NOT_OBSERVABLE = "not_observable"
    #: The facility is there and could not be read: the gate fails closed.
    UNREADABLE = "unreadable"


class AnomalyKind(enum.Enum):
    """What went on during a run that its figures are not to be read without."""

    FOREIGN_LOAD = "foreign_load"
    GOVERNOR_CHANGED = "governor_changed"
    THROTTLED = "throttled"
    CLOCK_LOWERED = "clock_lowered"
    SENSOR_STUCK = "sensor_stuck"
    SENSOR_LAGGING = "sensor_lagging"
    SENSOR_WRAPPED = "sensor_wrapped"
    SENSOR_TOO_FAST = "sensor_too_fast"
    FIRST_RUN_COMPILE = "first_run_compile"
    PROVIDER_FALLBACK = "provider_fallback"
    MEMORY_PRESSURE = "memory_pressure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The state of the device around a run."""

    #: Wall clock, seconds since 1970.
    wall_time_s: float
    #: Monotonic clock of the board.
    monotonic_ns: int
    #: Whether the wall clock is known to be synchronised; absent when unknown.
    clock_synchronised: bool | None = None
    #: Load average over one minute; absent when unreadable.
    load_average_1min: float | None = None
    #: Memory available to a new process.
    available_memory_bytes: int | None = None
    #: Free space of the agent's file system.
    free_disk_bytes: int | None = None
    #: Frequency governor; empty when there is none.
    governor: str = ""
    #: Every other sensor: temperatures, clocks, throttle counters, power.
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightCheck:
    """One question asked of the device before anything is measured."""

    #: Name of the check, for example "governor".
    name: str
    #: Answer.
    answer: CheckAnswer
    #: What was found, for people.
    observed: str
    #: What is required, for people.
    required: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """How a device rested before a job, by the rule that was set on it; in the time of the board."""

    #: Least time that it was to idle since the job before; 0 for none.
    idle_s: float
    #: It was to be below this; absent when heat did not matter.
    below_celsius: float | None = None
    #: No job was to be held back for longer than this.
    limit_s: float
    #: Time since the job before, or since the agent started.
    rested_s: float
    #: How long this job was held back for it.
    waited_s: float
    #: Hottest zone at the end of the rest; absent when nothing tells.
    temperature_celsius: float | None = None

    @property
    def met(self) -> bool:
        """Whether the device rested as it was to."""
        if self.rested_s < self.idle_s:
            return False
        if self.below_celsius is None:
            return True
        return self.temperature_celsius is not None and self.temperature_celsius < self.below_celsius

    @property
    def text(self) -> str:
        """Return in words what was found; ``wanted`` says what was to be."""
        found = "unknown" if self.temperature_celsius is None else f"{self.temperature_celsius:.1f} °C"
        heat = "" if self.below_celsius is None else f", {found}"
        return f"idle for {self.rested_s:.0f} s{heat}"

    @property
    def wanted(self) -> str:
        """Return in words what was to be."""
        heat = "" if self.below_celsius is None else f", below {self.below_celsius:g} °C"
        return f"idle for {self.idle_s:g} s{heat}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Whether the device was fit to measure; asked of every series, binding for the nominal one."""

    #: "nominal" or "as_deployed": figures of the two are never put into one series.
    series: str
    #: True when every check is fit or not observable.
    fit: bool
    #: Every check.
    checks: tuple[PreflightCheck, ...] = ()
    #: How long the agent waited for the device to become fit.
    waited_s: float = 0.0
    #: How the device rested before the job; absent when no rest was set.
    rest: Rest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of a job on the board's monotonic clock; what meters are aligned by."""

    #: "idle_before", "load_pulse", "load", "first_inference", "warm_up", "steady", "idle_after", "sustained" or
    #: "scenario". Interleaved by batch, each turn is a "steady" of its own.
    name: str
    #: Round it belongs to; -1 outside of rounds.
    round: int
    #: Begin, monotonic.
    start_ns: int
    #: End, monotonic.
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What went on during the steady phase of one block; whatever this device does not tell is absent."""

    #: Processor time of the runner during the phase.
    runner_cpu_s: float | None = None
    #: Share of all processors that other processes used, 0 to 1; agent and runner left out.
    foreign_cpu_share: float | None = None
    #: Share of processor time that a hypervisor gave to others, 0 to 1.
    stolen_cpu_share: float | None = None
    #: Times the runner was made to wait for a processor.
    involuntary_switch_count: int | None = None
    #: Hottest zone before the phase.
    temperature_before_celsius: float | None = None
    #: Hottest zone after the phase.
    temperature_after_celsius: float | None = None
    #: Highest clock that any policy reported before the phase.
    frequency_before_hz: float | None = None
    #: Highest clock that any policy reported after the phase.
    frequency_after_hz: float | None = None
    #: Throttle events during the phase.
    throttle_event_count: int | None = None
    #: Speed of a fixed busy loop after the phase as a fraction of that before it.
    clock_probe_ratio: float | None = None
    #: Periods of the scheduler's quota during the phase; absent without a quota.
    quota_period_count: int | None = None
    #: Those of them in which the quota stopped the runner.
    quota_throttled_count: int | None = None
    #: Time that its processors were stopped for by the quota.
    quota_throttled_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One finding; a run with a disqualifying one is accepted by no gate."""

    #: What it is.
    kind: AnomalyKind
    #: Round in which it was seen; -1 when it concerns the whole run.
    round: int = -1
    #: One sentence with what was seen and what was expected.
    reason: str
    #: Whether figures of this run no longer stand for the undisturbed device.
    disqualifying: bool = True
