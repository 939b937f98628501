"""Every pair of state and event is decided, for a lease and for the device."""

from __future__ import annotations

import itertools

import pytest
from edgeloop_agent.lease_table import (
    AVAILABILITY_TRANSITIONS,
    TRANSITIONS,
    AvailabilityEvent,
    LeaseEvent,
    next_availability,
    next_state,
)
from edgeloop_foundation.errors import LeaseError, StateError
from edgeloop_protocol.types.lease import AvailabilityState, LeaseState

ALLOWED = {
    ("queued", "grant"): "granted",
    ("queued", "refuse"): "refused",
    ("queued", "give_up"): "released",
    ("granted", "renew"): "granted",
    ("granted", "release"): "released",
    ("granted", "expire"): "expired",
    ("released", "release"): "released",
    ("expired", "release"): "expired",
}

DEVICE_ALLOWED = {
    ("open", "drain"): "draining",
    ("open", "undrain"): "open",
    ("draining", "drain"): "draining",
    ("draining", "emptied"): "drained",
    ("draining", "undrain"): "open",
    ("drained", "drain"): "drained",
    ("drained", "undrain"): "open",
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(LeaseState, LeaseEvent)))
def test_every_pair_of_a_lease_is_decided(state: LeaseState, event: LeaseEvent) -> None:
    expected = ALLOWED.get((state.value, event.value))
    assert (expected is None) == ((state, event) not in TRANSITIONS)
    if expected is None:
        with pytest.raises(LeaseError, match=f"is {state.value}"):
            next_state(state, event)
    else:
        assert next_state(state, event) is LeaseState(expected)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(AvailabilityState, AvailabilityEvent)))
def test_every_pair_of_the_device_is_decided(state: AvailabilityState, event: AvailabilityEvent) -> None:
    expected = DEVICE_ALLOWED.get((state.value, event.value))
    assert (expected is None) == ((state, event) not in AVAILABILITY_TRANSITIONS)
    if expected is None:
        with pytest.raises(StateError, match=f"is {state.value}"):
            next_availability(state, event)
    else:
        assert next_availability(state, event) is AvailabilityState(expected)
