"""Fault scripts: what is to go wrong on which simulated boards, when, and with what probability.

A script says what may happen; ``draw_faults`` decides, from a seed and a board's name alone, what does happen there.
One seed therefore gives the same faults on the same boards at the same places, whatever the order of events elsewhere.

Triggers, of which every fault has one:

- ``after_requests``: calls that the board had, heartbeats and health checks excepted, or only those of a ``method``.
- ``after_bytes``: bytes of messages that were sent to the board.
- ``after_writes``: writes to the board's disk.
- ``at_s``: job time of the board, the clock that its benchmarks are timed by.

A list of two numbers is a range that the seed draws from.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_profiles.bounds import Bounds, Choice, Fraction, NotNegative
from edgeloop_profiles.document import read_document
from edgeloop_profiles.profile import Profile
from edgeloop_profiles.schema import build

__all__ = ["TRIGGERS", "Fault", "FaultRule", "FaultScript", "check_script", "draw_faults", "load_faults"]

TRIGGERS = ("after_requests", "after_bytes", "after_writes", "at_s")
"""Every way to say when; a board counts from the moment that it serves for the first time, across its restarts."""

_WIRE = ("after_requests", "after_bytes")
_ANY = ("after_requests", "after_bytes", "after_writes", "at_s")

_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "drop": (_WIRE, (), ("count",)),
    "delay": (_WIRE, ("delay_s",), ("count",)),
    "corrupt": (_WIRE, (), ("count",)),
    "power_loss": (_ANY, (), ("off_s",)),
    "reboot": (_ANY, (), ("off_s",)),
    "crash": (_ANY, (), ("off_s",)),
    "disk_full": (_ANY, (), ("for_s",)),
    "throttle": (("at_s",), ("factor",), ("for_s",)),
    "slow": (("at_s",), ("factor",), ("for_s",)),
    "clock_skew": (("at_s",), ("skew_s",), ("for_s",)),
    "sensor_gone": (("at_s",), ("sensor",), ("for_s",)),
}
"""Kind -> triggers that it may have, fields that it needs, and fields that it may have besides."""

_NOT_NEGATIVE = Bounds(minimum=0)
FaultKind = Annotated[str, Choice(tuple(_KINDS))]
CountRange = tuple[Annotated[int, _NOT_NEGATIVE], ...]
SecondsRange = tuple[NotNegative, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One entry of a script."""

    #: What goes wrong.
    kind: FaultKind
    #: Pattern of the names of boards that it may happen on.
    boards: str = "*"
    #: Only boards of this profile; empty is any.
    profile: str = ""
    #: Only boards with this label; empty is any.
    label: str = ""
    #: Probability that it happens on a board at all.
    probability: Fraction = 1.0
    #: Pattern of the method whose requests are counted, for example "Submit"; empty counts all.
    method: str = ""
    after_requests: CountRange = ()
    after_bytes: CountRange = ()
    after_writes: CountRange = ()
    at_s: SecondsRange = ()
    #: Times that it happens: again after as many requests or bytes.
    count: Annotated[int, Bounds(minimum=1)] = 1
    #: How long a request is held up.
    delay_s: NotNegative = 0.0
    #: How long the board is away before it starts again, in wall time.
    off_s: NotNegative = 0.2
    #: How long it lasts, in job time; wall time for a full disk; 0 is for good.
    for_s: NotNegative = 0.0
    #: Share of the clock that throttling leaves, or how many times longer everything takes on a slow board.
    factor: Annotated[float, Bounds(above=0)] = 1.0
    #: How far wall time is off; behind is negative.
    skew_s: float = 0.0
    #: Name of the sensor that cannot be read any more.
    sensor: str = ""

    def __post_init__(self) -> None:
        triggers, needed, optional = _KINDS[self.kind]
        given = [name for name in TRIGGERS if getattr(self, name)]
        if len(given) != 1 or given[0] not in triggers:
            raise InvalidInputError(
                f"{self.kind}: found {' and '.join(given) or 'no trigger'}, allowed is exactly one of "
                f"{', '.join(triggers)}.",
                next_step="Say once when it happens.",
            )
        self._check_fields(needed, optional)
        span = getattr(self, given[0])
        if len(span) > 2 or list(span) != sorted(span):
            raise InvalidInputError(
                f"{self.kind}: {given[0]}: found {list(span)}, allowed is a number, or a range [least, most]."
            )

    def _check_fields(self, needed: Sequence[str], optional: Sequence[str]) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        every = {name for _, first, second in _KINDS.values() for name in (*first, *second)}
        changed = {name for name in every if getattr(self, name) != defaults[name]}
        if missing := [name for name in needed if name not in changed]:
            raise InvalidInputError(f"{self.kind}: {missing[0]}: found nothing, but it needs one.")
        if surplus := sorted(changed - {*needed, *optional}):
            allowed = ", ".join((*needed, *optional)) or "none"
            raise InvalidInputError(
                f"{self.kind}: found {surplus[0]}, which means nothing for it; allowed are {allowed}."
            )
        if self.method and not self.after_requests:
            raise InvalidInputError(f"{self.kind}: method: found {self.method!r}, but no after_requests.")
        if self.kind == "throttle" and self.factor > 1:
            raise InvalidInputError(f"throttle: factor: found {self.factor:g}, allowed is at most 1.")
        if self.kind == "slow" and self.factor < 1:
            raise InvalidInputError(f"slow: factor: found {self.factor:g}, allowed is at least 1.")

    @property
    def trigger(self) -> str:
        """Return the name of its trigger."""
        return next(name for name in TRIGGERS if getattr(self, name))

    def fits(self, board: str, profile: str, labels: Sequence[str]) -> bool:
        """Return whether it may happen on a board."""
        return (
            fnmatchcase(board, self.boards)
            and self.profile in ("", profile)
            and (not self.label or self.label in labels)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultScript:
    """A whole file."""

    fault: tuple[FaultRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What the seed decided for one board."""

    #: The entry that it comes from.
    rule: FaultRule
    #: Which entry of the script that is, from 0.
    index: int
    #: Value of the trigger, drawn from its range.
    place: float


def load_faults(path: Path) -> FaultScript:
    """Return the fault script in a file.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: it is not TOML, or a field does not hold what it should.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    tree = read_document(path, "Faults")
    entries = tree.get("fault")
    for entry in entries if isinstance(entries, list) else ():
        for name in TRIGGERS:
            # One number is a range of one.
            if isinstance(entry, dict) and name in entry and not isinstance(entry[name], list):
                entry[name] = [entry[name]]
    return build(FaultScript, tree, f"{path.name}: ")


def check_script(script: FaultScript, boards: Sequence[tuple[str, Profile, Sequence[str]]]) -> None:
    """Refuse entries that could never happen on these boards, given as name, profile and labels.

    Raises:
        InvalidInputError: an entry fits no board, or none of those that it fits has its sensor.
    """
    for index, rule in enumerate(script.fault):
        fitting = [profile for name, profile, labels in boards if rule.fits(name, profile.name, labels)]
        if not fitting:
            wanted = ", ".join(
                f"{key} {value!r}"
                for key, value in (("boards", rule.boards), ("profile", rule.profile), ("label", rule.label))
                if value
            )
            raise InvalidInputError(
                f"fault[{index}]: {rule.kind}: found {wanted}, which fits none of the {len(boards)} boards.",
                next_step=f"The first of them is {boards[0][0]}, profile {boards[0][1].name}.",
            )
        known = sorted(
            {sensor.name for profile in fitting for sensor in profile.sensors if not sensor.reason}
        )
        if rule.sensor and rule.sensor not in known:
            raise InvalidInputError(
                f"fault[{index}]: sensor_gone: sensor: found {rule.sensor!r}, "
                f"allowed are {', '.join(known) or 'none, for these boards have no sensors'}."
            )


def draw_faults(
    script: FaultScript, *, seed: int, board: str, profile: str, labels: Sequence[str] = ()
) -> tuple[Fault, ...]:
    """Return what happens on one board, in the order of the script."""
    found = []
    for index, rule in enumerate(script.fault):
        if not rule.fits(board, profile, labels):
            continue
        chance = random.Random(f"{seed}/{index}/{board}")  # noqa: S311
        if chance.random() < rule.probability:
            found.append(Fault(rule=rule, index=index, place=_place(rule, chance)))
    return tuple(found)


def _place(rule: FaultRule, chance: random.Random) -> float:
    span = getattr(rule, rule.trigger)
    least, most = span[0], span[-1]
    return chance.uniform(least, most) if rule.trigger == "at_s" else chance.randint(int(least), int(most))
