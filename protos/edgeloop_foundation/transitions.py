"""State machines as tables: a pair of state and event has one next state, or cannot happen."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

from edgeloop_foundation.errors import StateError

__all__ = ["next_in"]

S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)


def next_in(
    table: Mapping[tuple[S, E], S],
    state: S,
    event: E,
    what: str,
    *,
    verb: str = "cannot",
    next_step: str = "",
    error: type[StateError] = StateError,
) -> S:
    """Return the state after ``event``.

    Args:
        table: every pair that can happen.
        state: the state before.
        event: what happens.
        what: what has the state, with its article, for the sentence of a refusal.
        verb: what stands between state and event in that sentence.
        next_step: what to do instead.
        error: the error to raise.

    Raises:
        StateError: it cannot happen in this state; ``error`` where that is given.
    """
    try:
        return table[state, event]
    except KeyError:
        was, wanted = (member.value.replace("_", " ") for member in (state, event))
        raise error(f"{what} that is {was} {verb} {wanted}.", next_step=next_step) from None
