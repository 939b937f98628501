"""An expiring and fenced right to a device, granted by the agent: exclusive to measure, shared to bring something."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "OPEN",
    "PRIORITY_MAX",
    "Availability",
    "AvailabilityState",
    "CoolDown",
    "Lease",
    "LeaseRequest",
    "LeaseState",
    "holder_text",
    "is_shared",
]

PRIORITY_MAX = 100
"""Priorities lie between this and its negative; 0 is the ordinary one."""

_REST_S_MAX = 24 * 3600.0
_NAMED_MAX = 3


class LeaseState(enum.Enum):
    """Where a lease stands."""

    QUEUED = "queued"
    GRANTED = "granted"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUSED = "refused"


class AvailabilityState(enum.Enum):
    """Whether a device gives out leases."""

    OPEN = "open"
    DRAINING = "draining"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """Somebody asks for the device."""

    #: Client-chosen identifier; asking again with the same one returns the same lease.
    request_id: str
    #: Who asks, for people: user, host, CI job.
    holder: str
    #: Lifetime without a heartbeat, at most 600.
    ttl_s: float = 45.0
    #: How long to wait in the queue; 0 means do not wait.
    wait_timeout_s: float = 0.0
    #: A higher one goes before a lower one, equal ones in the order they came; -100 to 100.
    priority: int = 0
    #: Several shared ones are granted at once, never beside an exclusive one; no job runs under one.
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The state of one lease as the agent sees it."""

    #: Identifier given by the agent.
    lease_id: str
    #: Where it stands.
    state: LeaseState
    #: Who holds or wants it.
    holder: str
    #: Rises with every grant; an operation with an older token is refused.
    fencing_token: int = 0
    #: Seconds until it expires without a heartbeat; 0 unless granted.
    expires_in_s: float = 0.0
    #: Place in the queue, first is 1; 0 unless queued.
    queue_position: int = 0
    #: While queued: who holds the device now; of several, their names.
    current_holder: str = ""
    #: While queued: seconds until the device is free if its holders fall silent.
    current_expires_in_s: float = 0.0
    #: Why it ended; empty while it lives.
    reason: str = ""
    #: Its priority.
    priority: int = 0
    #: Whether it is a shared one.
    shared: bool = False

    @property
    def kind(self) -> str:
        """Return "shared" or "exclusive"."""
        return "shared" if self.shared else "exclusive"


def holder_text(leases: Iterable[Lease]) -> str:
    """Return who holds a device, for people; empty for nobody. Of many shared holders the first three are named."""
    names = [lease.holder for lease in leases if lease.state is LeaseState.GRANTED]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def is_shared(leases: Iterable[Lease]) -> bool:
    """Return whether those who hold a device share it; False for one who has it alone, and for nobody."""
    return any(lease.shared for lease in leases if lease.state is LeaseState.GRANTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolDown:
    """How a device rests before each job, in the time of the board."""

    #: Least time that it has idled since the job before; 0 for none.
    idle_s: float = 0.0
    #: It idles until its hottest zone is below this; None when heat does not matter.
    below_celsius: float | None = None
    #: No job is held back for longer than this, however hot the board is.
    limit_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 <= self.idle_s <= _REST_S_MAX or not 0 < self.limit_s <= _REST_S_MAX:
            raise ValueError(f"a rest and its limit take up to {_REST_S_MAX:.0f} s")
        if self.idle_s > self.limit_s:
            raise ValueError(f"a rest of {self.idle_s:g} s does not fit into its limit of {self.limit_s:g} s")
        if self.below_celsius is not None and not 0 < self.below_celsius < 150:
            raise ValueError(
                f"a board cools below a temperature between 0 and 150 °C, not {self.below_celsius:g}"
            )
        if not self.idle_s and self.below_celsius is None:
            raise ValueError("a rest is by time, by temperature, or by both")

    @property
    def text(self) -> str:
        """Return it in words."""
        parts = [f"{self.idle_s:g} s"] if self.idle_s else []
        if self.below_celsius is not None:
            parts.append(f"until below {self.below_celsius:g} °C, at most {self.limit_s:g} s")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a device gives out leases."""

    #: Where it stands.
    state: AvailabilityState = AvailabilityState.OPEN
    #: Why it is drained; empty while open.
    reason: str = ""
    #: Who drained it; empty while open.
    drained_by: str = ""
    #: How the device rests before each job; None when it does not.
    cool_down: CoolDown | None = None

    def __post_init__(self) -> None:
        if (self.state is AvailabilityState.OPEN) != (not self.drained_by):
            raise ValueError("a device is drained by somebody, and an open one by nobody")


OPEN = Availability()
"""A device that nobody drained."""
