"""What a rollout is to do, as a person reviews it: waves, gate, watch, thresholds, windows.

Everything has a default that is on the safe side, so that a plan of a name and devices is whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.deployment import check_deployment_name

__all__ = [
    "GATE_QUANTITIES",
    "Group",
    "Placed",
    "RolloutGate",
    "RolloutPlan",
    "Wave",
    "Window",
    "place_devices",
    "wait_for_window_s",
]

GATE_QUANTITIES = ("latency_p95", "energy", "memory", "parity")
"""What a gate holds against its bounds, next to the median that ``compare`` judges."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_PER_DAY = 1440


def _share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise InvalidInputError(f"{name} is a share from 0 to 1, not {value:g}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Devices that get the release together; exactly one of count, share, devices, groups and rest chooses them."""

    #: Name for people.
    name: str = ""
    #: So many of those that no earlier wave has, in the order of the plan.
    count: int = 0
    #: That share of all devices, rounded up.
    share: float = 0.0
    #: These.
    devices: tuple[str, ...] = ()
    #: The members of these groups; each group is held against the thresholds by itself.
    groups: tuple[str, ...] = ()
    #: Everything that no earlier wave has.
    rest: bool = False
    #: Whether somebody has to approve before it begins.
    approve: bool = False
    #: Share of a group that may fail; more stops the rollout.
    error_share_max: float = 0.0
    #: Share of the wave that has to serve the release before the next one begins.
    success_share_min: float = 1.0

    def __post_init__(self) -> None:
        given = (self.count > 0, self.share > 0, bool(self.devices), bool(self.groups), self.rest)
        if sum(given) != 1:
            raise InvalidInputError(
                f"wave {self.name!r} needs exactly one of count, share, devices, groups and rest, found {sum(given)}."
            )
        _share(f"wave {self.name!r}: share", self.share)
        _share(f"wave {self.name!r}: error_share_max", self.error_share_max)
        _share(f"wave {self.name!r}: success_share_min", self.success_share_min)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of devices that the plan itself names; it goes before the one of the inventory."""

    #: Its name.
    name: str
    #: Names of its devices.
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutGate:
    """How much worse than what served before a release may be on a canary, with the whole 95 % interval."""

    #: Allowed share on top of the median latency: what ``compare`` calls slower by more than this fails.
    median: float = 0.05
    #: Allowed share on top of the 95th percentile, whose interval is about +- 5 % where nothing changed.
    latency_p95: float = 0.10
    #: Allowed share on top of the energy of an inference.
    energy: float = 0.10
    #: Allowed share on top of the peak memory; a peak alone is known to 10 %, a ratio of two to 22 %.
    memory: float = 0.25
    #: Whether the outputs have to agree with their golden pack.
    parity: bool = True
    #: Of these an answer that cannot be given stops the rollout until somebody decides.
    required: tuple[str, ...] = ("latency_p95", "memory", "parity")
    #: Fresh processes of each version: twice as many as ``compare`` takes, so that a tenth is told from a twentieth.
    rounds: int = 12
    #: Measured time of each version, over all rounds.
    seconds: float = 4.2

    def __post_init__(self) -> None:
        for name in ("median", "latency_p95", "energy", "memory"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"gate: {name} is a share from 0 on, not {getattr(self, name):g}.")
        unknown = sorted(set(self.required) - set(GATE_QUANTITIES))
        if unknown:
            raise InvalidInputError(
                f"gate: required names {unknown[0]!r}; allowed are {', '.join(GATE_QUANTITIES)}."
            )
        if not 3 <= self.rounds <= 100:
            raise InvalidInputError(f"gate: rounds are 3 to 100, not {self.rounds}.")
        if not 0.1 <= self.seconds <= 600.0:
            raise InvalidInputError(f"gate: seconds are 0.1 to 600, not {self.seconds:g}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A daily span of time in which devices may be changed; it may reach over midnight."""

    #: Beginning, "HH:MM".
    begins: str
    #: End, "HH:MM", itself outside.
    ends: str
    #: Days on which it begins, "mon" to "sun"; empty is every day.
    days: tuple[str, ...] = ()
    #: Hours that its clock is ahead of UTC.
    utc_offset_h: float = 0.0

    def __post_init__(self) -> None:
        if _minute(self.begins) == _minute(self.ends):
            raise InvalidInputError(f"the window {self.begins} to {self.ends} is empty.")
        unknown = [day for day in self.days if day not in _DAYS]
        if unknown:
            raise InvalidInputError(f"window: day {unknown[0]!r} is none of {', '.join(_DAYS)}.")
        if not -14.0 <= self.utc_offset_h <= 14.0:
            raise InvalidInputError(f"window: utc_offset_h is -14 to 14, not {self.utc_offset_h:g}.")

    def opens_in_s(self, now_s: float) -> float:
        """Return the seconds until it is open; 0 within it."""
        here = datetime.fromtimestamp(now_s, timezone(timedelta(hours=self.utc_offset_h)))
        begins, ends = _minute(self.begins), _minute(self.ends)
        length = timedelta(minutes=(ends - begins) % _MINUTES_PER_DAY)
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(-1, 8):
            opens = midnight + timedelta(days=day, minutes=begins)
            if (not self.days or _DAYS[opens.weekday()] in self.days) and here < opens + length:
                return max(0.0, (opens - here).total_seconds())
        raise InvalidInputError(
            "the window never opens."
        )  # pragma: no cover - every day is among the next eight


def _minute(text: str) -> int:
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(text) <= 5):
        raise InvalidInputError(f"{text!r} is no time of day; write it as 23:30.")
    if int(hours) > 23 or int(minutes) > 59:
        raise InvalidInputError(f"{text!r} is no time of day; the last is 23:59.")
    return 60 * int(hours) + int(minutes)


def wait_for_window_s(windows: Sequence[Window], now_s: float) -> float:
    """Return the seconds until one of the windows is open; 0 when one is, or when there are none."""
    return min((window.opens_in_s(now_s) for window in windows), default=0.0)


_DEFAULT_WAVES = (
    Wave(name="canary", count=1),
    Wave(name="tenth", share=0.1),
    Wave(name="rest", rest=True, error_share_max=0.05, success_share_min=0.95),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """One release to many devices."""

    #: Name of the signed release.
    release: str
    #: Devices, as ``--on`` names them.
    on: tuple[str, ...] = ()
    #: In this order.
    waves: tuple[Wave, ...] = _DEFAULT_WAVES
    #: Groups of the plan.
    groups: tuple[Group, ...] = ()
    #: What the first wave is held against.
    gate: RolloutGate = RolloutGate()
    #: Times in which devices may be changed; empty is always.
    windows: tuple[Window, ...] = ()
    #: How long a device watches its new version before it commits it, in seconds.
    trial_s: float = 60.0
    #: How long a wave is watched after that, in seconds.
    watch_s: float = 1800.0
    #: Time between two looks of the watch, in seconds.
    watch_every_s: float = 60.0
    #: Unhealthy looks in a row, or failed gates, that condemn a release.
    strikes: int = 2
    #: Devices that are changed at the same time.
    parallel: int = 4
    #: Devices that are begun per minute; 0 sets no limit.
    per_minute: float = 0.0
    #: Time after which a device that is away is tried again, in seconds.
    retry_s: float = 30.0
    #: Longest time that the rollout, and each of its states, may take, in seconds.
    deadline_s: float = 7 * 86_400.0
    #: Whether each device has to sign a parity certificate before its wave counts as held.
    certificate: bool = False

    def __post_init__(self) -> None:
        check_deployment_name(self.release)
        if not self.waves:
            raise InvalidInputError("a rollout has at least one wave.")
        positive = ("watch_every_s", "retry_s", "deadline_s")
        if any(not 0.0 < getattr(self, name) < math.inf for name in positive):
            raise InvalidInputError(f"{', '.join(positive)} are above 0.")
        if not (0.0 <= self.trial_s <= 3600.0 and 0.0 <= self.watch_s < math.inf and self.per_minute >= 0.0):
            raise InvalidInputError("trial_s is 0 to 3600; watch_s and per_minute are not negative.")
        if self.strikes < 1 or not 1 <= self.parallel <= 1000:
            raise InvalidInputError("strikes are at least 1, parallel is 1 to 1000.")
        for number, wave in enumerate(self.waves):
            if wave.rest and number != len(self.waves) - 1:
                raise InvalidInputError("only the last wave can be the rest.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A device in its place."""

    #: Its name.
    device: str
    #: Number of its wave, from 0.
    wave: int
    #: Its group within the wave; empty where the wave names none.
    group: str = ""


def place_devices(
    plan: RolloutPlan, names: Sequence[str], inventory: Mapping[str, Sequence[str]]
) -> tuple[Placed, ...]:
    """Return every device with its wave; a wave that finds nobody left is passed over.

    Args:
        plan: the plan.
        names: the devices, in the order of the plan.
        inventory: names of the members of each group of the inventory.

    Raises:
        InvalidInputError: a wave names an unknown device or group, or a device has no wave.
    """
    groups = {**{name: tuple(members) for name, members in inventory.items()}}
    groups |= {group.name: group.devices for group in plan.groups}
    left, placed = list(names), []
    for number, wave in enumerate(plan.waves):
        chosen = _chosen(wave, left, names, groups)
        placed += [Placed(device=name, wave=number, group=group) for name, group in chosen]
        taken = {name for name, _ in chosen}
        left = [name for name in left if name not in taken]
    if left:
        raise InvalidInputError(
            f"{left[0]} and {len(left) - 1} more devices are in no wave."
            if left[1:]
            else f"{left[0]} is in no wave.",
            next_step="Let the last wave be the rest: rest = true.",
        )
    return tuple(placed)


def _chosen(
    wave: Wave, left: Sequence[str], names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    if wave.groups:
        unknown = [group for group in wave.groups if group not in groups]
        if unknown:
            raise InvalidInputError(f"wave {wave.name!r}: there is no group {unknown[0]!r}.")
        of = {name: group for group in reversed(wave.groups) for name in groups[group]}
        return [(name, of[name]) for name in left if name in of]
    if wave.devices:
        absent = [name for name in wave.devices if name not in names]
        if absent:
            raise InvalidInputError(f"wave {wave.name!r}: the rollout has no device {absent[0]!r}.")
        return [(name, "") for name in left if name in wave.devices]
    if wave.rest:
        return [(name, "") for name in left]
    return [(name, "") for name in left[: wave.count or math.ceil(wave.share * len(names))]]
