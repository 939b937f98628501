"""Is this device fit to measure? Pure: from two looks at it to an answer per question.

- FIT and UNFIT are answers. NOT_OBSERVABLE says that the device has no such facility: a virtual machine without
  cpufreq cannot be asked for its governor, and is not held responsible. UNREADABLE says that the facility is there
  and kept its answer back: the gate fails closed.
- Load is what other processes used between the two looks. The load average is recorded beside it and decides nothing:
  a minute after the fact it still remembers what the controller itself did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeloop_protocol.types.conditions import CheckAnswer, Preflight, PreflightCheck

from edgeloop_agent.fitness.vitals import Seen, Vitals, temperature_of, throttled_now

__all__ = ["CHECKS", "Look", "failed_checks", "foreign_share", "judge", "may_pass_by_itself", "refusal"]

FOREIGN_SHARE_MAX = 0.10
"""Of all processors. The services of an idle board take a few percent; a tenth is more than an A/A floor forgives."""

TEMPERATURE_MARGIN_K = 10.0
"""Above idle, and below the trip point. A die sheds its own heat within seconds; what is left belongs to the heat sink,
takes minutes, and is well below what throttles."""

WRITING_BYTES_MAX = 4 << 20
"""A disk that is writing more than this is in the middle of a sync."""

_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The device over about a second, and what is wanted of it."""

    #: At its begin.
    before: Vitals
    #: At its end.
    after: Vitals
    #: Memory that the runners alive at once need.
    wanted_memory_bytes: int = 0
    #: Temperature when left alone; absent when never seen.
    idle_celsius: float | None = None

    @property
    def duration_s(self) -> float:
        """Its length."""
        return (self.after.monotonic_ns - self.before.monotonic_ns) * _NS


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    ask: Callable[[Look], PreflightCheck]
    #: Whether waiting may help.
    transient: bool
    #: What a person may do.
    next_step: str


def judge(look: Look, *, series: str, waited_s: float = 0.0) -> Preflight:
    """Return the answer to every question."""
    checks = tuple(check.ask(look) for check in CHECKS)
    fit = not any(_fails(check) for check in checks)
    return Preflight(series=series, fit=fit, checks=checks, waited_s=waited_s)


def failed_checks(preflight: Preflight) -> tuple[PreflightCheck, ...]:
    """Return what keeps the device from being fit."""
    return tuple(check for check in preflight.checks if _fails(check))


def may_pass_by_itself(preflight: Preflight) -> bool:
    """Return whether waiting may help: every failed check is of something that passes."""
    passing = {check.name for check in CHECKS if check.transient}
    return all(
        check.name in passing and check.answer is CheckAnswer.UNFIT for check in failed_checks(preflight)
    )


def refusal(preflight: Preflight) -> str:
    """Return one sentence per failed check and the ways out."""
    steps = {check.name: check.next_step for check in CHECKS}
    found = "; ".join(
        f"{check.name} is {check.observed}, required is {check.required} ({steps[check.name]})"
        for check in failed_checks(preflight)
    )
    waited = f" after waiting {preflight.waited_s:.0f} s" if preflight.waited_s else ""
    return (
        f"the device is not fit to measure{waited}: {found}. "
        "Or measure it as it is with --as-deployed, which is a series of its own."
    )


def foreign_share(before: Vitals, after: Vitals) -> float | None:
    """Return the share of all processors that others than agent and runner used between two moments, 0 to 1."""
    first, last = before.processors.value, after.processors.value
    if first is None or last is None or last.total_s <= first.total_s:
        return None
    own_s = after.agent_cpu_s - before.agent_cpu_s
    if (before.runner is None) != (after.runner is None):
        return None
    if before.companions_cpu_s is None or after.companions_cpu_s is None:
        return None
    own_s += after.companions_cpu_s - before.companions_cpu_s
    if before.runner is not None and after.runner is not None:
        own_s += after.runner.cpu_s - before.runner.cpu_s
    share = (last.busy_s - first.busy_s - own_s) / (last.total_s - first.total_s)
    return min(1.0, max(0.0, share))


def _fails(check: PreflightCheck) -> bool:
    return check.answer in (CheckAnswer.UNFIT, CheckAnswer.UNREADABLE)


def _missing(name: str, seen: Seen[Any], required: str) -> PreflightCheck:
    answer = CheckAnswer.UNREADABLE if seen.unreadable else CheckAnswer.NOT_OBSERVABLE
    observed = f"unreadable: {seen.reason}" if seen.unreadable else seen.reason
    return PreflightCheck(name=name, answer=answer, observed=observed, required=required)


def _answer(name: str, fit: bool, observed: str, required: str) -> PreflightCheck:
    answer = CheckAnswer.FIT if fit else CheckAnswer.UNFIT
    return PreflightCheck(name=name, answer=answer, observed=observed, required=required)


def _governor(look: Look) -> PreflightCheck:
    required = "performance, or a pinned clock"
    policies = look.after.policies
    if policies.value is None:
        return _missing("governor", policies, required)
    pinned = all(policy.fixed for policy in policies.value)
    observed = look.after.governors or "none"
    only_by_limits = pinned and observed != "performance"
    return _answer(
        "governor", pinned, f"{observed} with a pinned clock" if only_by_limits else observed, required
    )


def _frequency_limits(look: Look) -> PreflightCheck:
    required = "equal limits, or the governor performance"
    policies = look.after.policies
    if policies.value is None:
        return _missing("frequency_limits", policies, required)
    observed = ", ".join(
        f"{p.name} {p.minimum_hz / 1e6:.0f} to {p.maximum_hz / 1e6:.0f} MHz" for p in policies.value
    )
    return _answer("frequency_limits", look.after.fixed_clock, observed, required)


def _boost(look: Look) -> PreflightCheck:
    required = "to be recorded"
    boost = look.after.boost
    if boost.value is None:
        return _missing("boost", boost, required)
    return _answer("boost", True, "on" if boost.value else "off", required)


def _load(look: Look) -> PreflightCheck:
    required = f"at most {FOREIGN_SHARE_MAX:.0%} of the processors used by others"
    share = foreign_share(look.before, look.after)
    if share is None:
        processors = look.after.processors
        told = processors if processors.value is None else Seen[Any](reason="processor times stand still")
        return _missing("load", told, required)
    average = look.after.load_average_1min
    beside = "" if average is None else f"; load average {average:.2f}"
    observed = f"{share:.1%} over {look.duration_s:.1f} s{beside}"
    return _answer("load", share <= FOREIGN_SHARE_MAX, observed, required)


def _temperature(look: Look) -> PreflightCheck:
    now, trip = temperature_of(look.after.readings), look.after.passive_trip_celsius
    limits = []
    if look.idle_celsius is not None:
        limits.append((look.idle_celsius + TEMPERATURE_MARGIN_K, f"{look.idle_celsius:.1f} °C when idle"))
    if trip.value is not None:
        limits.append((trip.value - TEMPERATURE_MARGIN_K, f"slowed at {trip.value:.1f} °C"))
    limit, why = min(limits, default=(None, ""))
    required = "cool" if limit is None else f"at most {limit:.1f} °C ({why})"
    if now.value is None:
        return _missing("temperature", now, required)
    return _answer("temperature", limit is None or now.value <= limit, f"{now.value:.1f} °C", required)


def _throttling(look: Look) -> PreflightCheck:
    required = "no throttling and no under-voltage now"
    now = throttled_now(look.after.readings)
    if now.value is None:
        return _missing("throttling", now, required)
    return _answer("throttling", not now.value, ", ".join(now.value) or "none", required)


def _memory(look: Look) -> PreflightCheck:
    required = f"{look.wanted_memory_bytes / 1e6:.0f} MB free (runtime and 1.5 times the model)"
    free = look.after.available_memory_bytes
    if free.value is None:
        return _missing("memory", free, required)
    return _answer("memory", free.value >= look.wanted_memory_bytes, f"{free.value / 1e6:.0f} MB", required)


def _swapping(look: Look) -> PreflightCheck:
    required = "no page swapped in or out"
    first, last = look.before.swapped_page_count, look.after.swapped_page_count
    if first.value is None or last.value is None:
        return _missing("swapping", last if last.value is None else first, required)
    moved = last.value - first.value
    return _answer("swapping", moved <= 0, f"{moved} pages in {look.duration_s:.1f} s", required)


def _disk(look: Look) -> PreflightCheck:
    required = f"at most {WRITING_BYTES_MAX / 1e6:.0f} MB being written"
    writing = look.after.writing_bytes
    if writing.value is None:
        return _missing("disk", writing, required)
    return _answer("disk", writing.value <= WRITING_BYTES_MAX, f"{writing.value / 1e6:.1f} MB", required)


def _clock(look: Look) -> PreflightCheck:
    required = "synchronised where something synchronises it"
    known = look.after.clock_synchronised
    if known.value is None:
        return _missing("clock", known, required)
    return _answer("clock", known.value, "synchronised" if known.value else "not synchronised", required)


def _power_mode(look: Look) -> PreflightCheck:
    mode = look.after.power_mode
    if mode.value is None:
        return _missing("power_mode", mode, "to be recorded")
    return _answer("power_mode", True, mode.value or "unnamed", "to be recorded")


def _power_supply(look: Look) -> PreflightCheck:
    required = "mains"
    fed = look.after.on_mains
    if fed.value is None:
        return _missing("power_supply", fed, required)
    return _answer("power_supply", fed.value, "mains" if fed.value else "battery", required)


_PIN = "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
_READABLE = "let the agent's user read it"

CHECKS = (
    _Check("governor", _governor, False, _PIN),
    _Check("frequency_limits", _frequency_limits, False, _PIN),
    _Check("boost", _boost, False, _READABLE),
    _Check("load", _load, True, "stop what else runs there; top shows it"),
    _Check("temperature", _temperature, True, "let it cool down, or allow a longer wait in settle_s_max"),
    _Check("throttling", _throttling, True, "look after cooling and power supply"),
    _Check("memory", _memory, True, "stop what else uses memory there"),
    _Check("swapping", _swapping, True, "stop what else uses memory there, or sudo swapoff -a"),
    _Check("disk", _disk, True, "wait for the writes; sync does"),
    _Check("clock", _clock, False, "timedatectl or chronyc tracking say why"),
    _Check("power_mode", _power_mode, False, _READABLE),
    _Check("power_supply", _power_supply, False, "connect the power supply"),
)
"""Every question, in the order in which it is asked."""
