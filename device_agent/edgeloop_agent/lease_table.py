"""The state tables of leases, without I/O: one lease, and whether the device is given out.

======== =============================================================================
lease    queued -> granted -> released | expired, or queued -> refused | released
device   open -> draining (somebody still holds it) -> drained -> open
======== =============================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from edgeloop_foundation.errors import LeaseError
from edgeloop_foundation.transitions import next_in
from edgeloop_protocol.types.lease import AvailabilityState, LeaseState

__all__ = [
    "AVAILABILITY_TRANSITIONS",
    "TRANSITIONS",
    "AvailabilityEvent",
    "LeaseEvent",
    "next_availability",
    "next_state",
]


class LeaseEvent(enum.Enum):
    """What happens to a lease."""

    GRANT = "grant"
    RENEW = "renew"
    RELEASE = "release"
    EXPIRE = "expire"
    REFUSE = "refuse"
    GIVE_UP = "give_up"


TRANSITIONS: Mapping[tuple[LeaseState, LeaseEvent], LeaseState] = {
    (LeaseState.QUEUED, LeaseEvent.GRANT): LeaseState.GRANTED,
    (LeaseState.QUEUED, LeaseEvent.REFUSE): LeaseState.REFUSED,
    (LeaseState.QUEUED, LeaseEvent.GIVE_UP): LeaseState.RELEASED,
    (LeaseState.GRANTED, LeaseEvent.RENEW): LeaseState.GRANTED,
    (LeaseState.GRANTED, LeaseEvent.RELEASE): LeaseState.RELEASED,
    (LeaseState.GRANTED, LeaseEvent.EXPIRE): LeaseState.EXPIRED,
    # Releasing twice is what a client does that lost the answer.
    (LeaseState.RELEASED, LeaseEvent.RELEASE): LeaseState.RELEASED,
    (LeaseState.EXPIRED, LeaseEvent.RELEASE): LeaseState.EXPIRED,
}
"""The whole table of a lease; what is not in it is refused."""


class AvailabilityEvent(enum.Enum):
    """What happens to the device's being given out."""

    DRAIN = "drain"
    UNDRAIN = "undrain"
    EMPTIED = "emptied"


AVAILABILITY_TRANSITIONS: Mapping[tuple[AvailabilityState, AvailabilityEvent], AvailabilityState] = {
    (AvailabilityState.OPEN, AvailabilityEvent.DRAIN): AvailabilityState.DRAINING,
    (AvailabilityState.DRAINING, AvailabilityEvent.EMPTIED): AvailabilityState.DRAINED,
    (AvailabilityState.DRAINING, AvailabilityEvent.UNDRAIN): AvailabilityState.OPEN,
    (AvailabilityState.DRAINED, AvailabilityEvent.UNDRAIN): AvailabilityState.OPEN,
    # Again, with another reason.
    (AvailabilityState.DRAINING, AvailabilityEvent.DRAIN): AvailabilityState.DRAINING,
    (AvailabilityState.DRAINED, AvailabilityEvent.DRAIN): AvailabilityState.DRAINED,
    # Who lost the answer asks again.
    (AvailabilityState.OPEN, AvailabilityEvent.UNDRAIN): AvailabilityState.OPEN,
}
"""The whole table of the device; what is not in it is refused."""


def next_state(state: LeaseState, event: LeaseEvent) -> LeaseState:
    """Return the state of a lease after an event.

    Raises:
        LeaseError: the table does not allow it.
    """
    return next_in(TRANSITIONS, state, event, "a lease", next_step="Acquire a new lease.", error=LeaseError)


def next_availability(state: AvailabilityState, event: AvailabilityEvent) -> AvailabilityState:
    """Return the availability of the device after an event.

    Raises:
        StateError: the table does not allow it.
    """
    return next_in(AVAILABILITY_TRANSITIONS, state, event, "a device", verb="cannot be")
