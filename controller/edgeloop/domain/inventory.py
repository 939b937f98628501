"""A device as the inventory has it, and what was last found out about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.lease import Availability

from edgeloop.domain.device import DeviceSpec

__all__ = ["InventoryEntry", "KnownAvailability", "KnownFacts", "age_words", "check_word"]

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def check_word(word: str, what: str) -> str:
    """Return the key or value of a label, or the name of a group, if it can be one.

    Raises:
        InvalidInputError: it would not survive a selector.
    """
    if _WORD.fullmatch(word) is None:
        raise InvalidInputError(
            f"{what} is {word!r}; allowed are letters, digits, '.', '_' and '-', "
            "a letter or digit first, at most 63."
        )
    return word


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryEntry:
    """One device that has a name, with what people say about it.

    Raises:
        InvalidInputError: a label or group that a selector could not name.
    """

    #: How it is reached.
    spec: DeviceSpec
    #: Key and value, sorted by key.
    labels: tuple[tuple[str, str], ...] = ()
    #: Groups that it is in, sorted.
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, value in self.labels:
            check_word(key, f"device {self.spec.name}: the key of a label")
            check_word(value, f"device {self.spec.name}: label {key}")
        for group in self.groups:
            check_word(group, f"device {self.spec.name}: a group")

    @property
    def name(self) -> str:
        """The device's name."""
        return self.spec.name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Where and when a device said something."""

    #: Where it was reached: what another address said is of another board.
    address: str
    #: When it answered, seconds since 1970 by the controller's clock.
    seen_s: float

    def age_s(self, now_s: float) -> float:
        """Return how old this is; 0 after the clock was set back."""
        return max(0.0, now_s - self.seen_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFacts(_Known):
    """What a device said about itself, and when."""

    #: What it said.
    facts: Facts = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAvailability(_Known):
    """Whether a device gave out leases when it was last asked."""

    #: Its answer.
    availability: Availability


def age_words(age_s: float) -> str:
    """Return an age for people: "just now", "5 minutes ago", "3 days ago"."""
    if age_s < _MINUTE_S:
        return "just now"
    for size, word in ((_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute")):
        if age_s >= size:
            count = int(age_s // size)
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    raise AssertionError("every age is at least a minute here")
