"""The table of an installation's states, without I/O; what it does not hold cannot happen.

::

    RECEIVING -> VERIFIED -> STAGED -> PROBED -> ACTIVATING -> TRIAL -> COMMITTED
        \\__________\\__________\\_________\\-> FAILED   |          |         |
                                                     v          v         v
                                                    ROLLING_BACK -> ROLLED_BACK

The pointer changes between ACTIVATING and TRIAL, and between ROLLING_BACK and ROLLED_BACK. Whatever an earlier process
left before ACTIVATING is discarded; from there on the pointer decides.
"""

from __future__ import annotations

import enum
import itertools

from edgeloop_foundation.transitions import next_in
from edgeloop_protocol.types.deployment import DeploymentState as S

__all__ = ["DEADLINE_S", "TRANSITIONS", "DeploymentEvent", "next_state"]


class DeploymentEvent(enum.Enum):
    """What can happen to an installation."""

    ADVANCE = "advance"
    FAIL = "fail"
    CANCEL = "cancel"
    ROLL_BACK = "roll_back"


_FORWARD = (S.RECEIVING, S.VERIFIED, S.STAGED, S.PROBED, S.ACTIVATING, S.TRIAL, S.COMMITTED)
_UNSEEN = (S.RECEIVING, S.VERIFIED, S.STAGED, S.PROBED)

TRANSITIONS: dict[tuple[S, DeploymentEvent], S] = {
    **{(state, DeploymentEvent.ADVANCE): following for state, following in itertools.pairwise(_FORWARD)},
    **{
        (state, event): S.FAILED
        for state in _UNSEEN
        for event in (DeploymentEvent.FAIL, DeploymentEvent.CANCEL)
    },
    **{
        (state, event): S.ROLLING_BACK
        for state in (S.ACTIVATING, S.TRIAL)
        for event in (DeploymentEvent.FAIL, DeploymentEvent.CANCEL)
    },
    (S.COMMITTED, DeploymentEvent.ROLL_BACK): S.ROLLING_BACK,
    (S.ROLLING_BACK, DeploymentEvent.ADVANCE): S.ROLLED_BACK,
    # A way back is gone to its end; what is over stays over.
    **{
        (state, DeploymentEvent.CANCEL): state
        for state in (S.COMMITTED, S.ROLLING_BACK, S.ROLLED_BACK, S.FAILED)
    },
}
"""(state, event) -> state."""

DEADLINE_S: dict[S, float] = {
    S.RECEIVING: 60.0,
    S.VERIFIED: 600.0,
    S.STAGED: 300.0,
    S.PROBED: 30.0,
    S.ACTIVATING: 30.0,
    S.TRIAL: 3600.0,
    S.ROLLING_BACK: 30.0,
}
"""How long the step out of a state may take before it counts as failed."""


def next_state(state: S, event: DeploymentEvent) -> S:
    """Return the state after ``event``.

    Raises:
        StateError: it cannot happen in this state.
    """
    return next_in(TRANSITIONS, state, event, "a deployment")
