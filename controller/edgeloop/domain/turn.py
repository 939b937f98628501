"""How a controller queues for a device that somebody else holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.lease import PRIORITY_MAX

__all__ = ["ORDINARY_TURN", "Turn"]

_WAIT_S_MAX = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A place in the queue of each device.

    Raises:
        InvalidInputError: a wait or a priority that no agent takes.
    """

    #: How long to wait for a busy device, 0 for not at all; None leaves it to the verb.
    wait_s: float | None = None
    #: A higher one goes before a lower one; -100 to 100.
    priority: int = 0

    def __post_init__(self) -> None:
        if self.wait_s is not None and not (math.isfinite(self.wait_s) and 0 <= self.wait_s <= _WAIT_S_MAX):
            raise InvalidInputError("a wait for a device takes between 0 s and 24 h.")
        if abs(self.priority) > PRIORITY_MAX:
            raise InvalidInputError(
                f"a priority lies between -{PRIORITY_MAX} and {PRIORITY_MAX}, not {self.priority}."
            )


ORDINARY_TURN = Turn()
"""As long as the verb waits, and before nobody."""
