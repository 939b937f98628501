"""The table of installations, whole."""

from __future__ import annotations

import itertools

import pytest
from edgeloop_agent.deployment_table import DEADLINE_S, TRANSITIONS, DeploymentEvent, next_state
from edgeloop_foundation.errors import StateError
from edgeloop_protocol.types.deployment import OVER, DeploymentState

UNSEEN = {"fail": "failed", "cancel": "failed"}
SEEN = {"fail": "rolling_back", "cancel": "rolling_back"}
ALLOWED = {
    "receiving": {"advance": "verified", **UNSEEN},
    "verified": {"advance": "staged", **UNSEEN},
    "staged": {"advance": "probed", **UNSEEN},
    "probed": {"advance": "activating", **UNSEEN},
    "activating": {"advance": "trial", **SEEN},
    "trial": {"advance": "committed", **SEEN},
    "committed": {"roll_back": "rolling_back", "cancel": "committed"},
    "rolling_back": {"advance": "rolled_back", "cancel": "rolling_back"},
    "rolled_back": {"cancel": "rolled_back"},
    "failed": {"cancel": "failed"},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(DeploymentState, DeploymentEvent)))
def test_every_pair_is_decided(state: DeploymentState, event: DeploymentEvent) -> None:
    expected = ALLOWED[state.value].get(event.value)
    if expected is None:
        with pytest.raises(StateError, match=f"that is {state.value.replace('_', ' ')} cannot"):
            next_state(state, event)
    else:
        assert next_state(state, event) is DeploymentState(expected)


def test_every_state_has_an_end_a_deadline_and_a_way_to_cancel() -> None:
    assert set(DEADLINE_S) == set(DeploymentState) - OVER
    assert all((state, DeploymentEvent.CANCEL) in TRANSITIONS for state in DeploymentState)
    for state in set(DeploymentState) - OVER:
        reached = {state}
        for _ in DeploymentState:
            reached |= {TRANSITIONS[key] for key in TRANSITIONS if key[0] in reached}
        assert reached & OVER
