"""A table of transitions, and the sentence of what cannot happen."""

from __future__ import annotations

import enum

import pytest
from edgeloop_foundation.errors import LeaseError, StateError
from edgeloop_foundation.transitions import next_in


class Door(enum.Enum):
    OPEN = "wide_open"
    SHUT = "shut"


class Push(enum.Enum):
    CLOSE = "be_closed"


TABLE = {(Door.OPEN, Push.CLOSE): Door.SHUT}


def test_what_is_in_the_table_happens() -> None:
    assert next_in(TABLE, Door.OPEN, Push.CLOSE, "a door") is Door.SHUT


def test_what_is_not_is_a_sentence() -> None:
    with pytest.raises(StateError, match=r"^a door that is shut cannot be closed\. Open it\.$") as caught:
        next_in(TABLE, Door.SHUT, Push.CLOSE, "a door", next_step="Open it.")
    assert type(caught.value) is StateError
    with pytest.raises(LeaseError, match="must not be closed"):
        next_in(TABLE, Door.SHUT, Push.CLOSE, "a door", verb="must not", error=LeaseError)
