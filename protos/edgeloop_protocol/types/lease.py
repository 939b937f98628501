"""An exclusive, expiring and fenced right to a device, granted by the agent."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["OPEN", "PRIORITY_MAX", "Availability", "AvailabilityState", "Lease", "LeaseRequest", "LeaseState"]

PRIORITY_MAX = 100
"""Priorities lie between this and its negative; 0 is the ordinary one."""


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
    #: While queued: who holds the device now.
    current_holder: str = ""
    #: While queued: seconds until the current lease expires if its holder falls silent.
    current_expires_in_s: float = 0.0
    #: Why it ended; empty while it lives.
    reason: str = ""
    #: Its priority.
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a device gives out leases."""

    #: Where it stands.
    state: AvailabilityState = AvailabilityState.OPEN
    #: Why it is drained; empty while open.
    reason: str = ""
    #: Who drained it; empty while open.
    drained_by: str = ""

    def __post_init__(self) -> None:
        if (self.state is AvailabilityState.OPEN) != (not self.drained_by):
            raise ValueError("a device is drained by somebody, and an open one by nobody")


OPEN = Availability()
"""A device that nobody drained."""
