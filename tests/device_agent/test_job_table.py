"""The table of job states, whole."""

from __future__ import annotations

import itertools

import pytest
from edgeloop_agent.job_table import ROW_WITHOUT, TRANSITIONS, JobTransition, next_state
from edgeloop_foundation.errors import StateError
from edgeloop_protocol.types.job import TERMINAL, JobState

ALLOWED = {
    "accepted": {
        "start": "running",
        "cancel": "cancelling",
        "fail": "failed",
        "time_out": "timed_out",
        "interrupt": "interrupted",
    },
    "running": {
        "cancel": "cancelling",
        "succeed": "succeeded",
        "fail": "failed",
        "time_out": "timed_out",
        "interrupt": "interrupted",
    },
    "cancelling": {
        "cancel": "cancelling",
        "stopped": "cancelled",
        "fail": "failed",
        "time_out": "timed_out",
        "interrupt": "interrupted",
    },
    **{state.value: {"cancel": state.value} for state in TERMINAL},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobTransition)))
def test_every_pair_is_decided(state: JobState, event: JobTransition) -> None:
    expected = ALLOWED[state.value].get(event.value)
    if expected is None:
        with pytest.raises(StateError, match=f"that is {state.value.replace('_', ' ')} cannot"):
            next_state(state, event)
    else:
        assert next_state(state, event) is JobState(expected)


def test_cancel_is_allowed_everywhere_and_every_state_can_end() -> None:
    assert all((state, JobTransition.CANCEL) in TRANSITIONS for state in JobState)
    for state in set(JobState) - TERMINAL:
        assert any(TRANSITIONS[key] in TERMINAL for key in TRANSITIONS if key[0] is state)


def test_every_ending_says_what_a_trial_without_a_run_is() -> None:
    endings = {event for (state, event), found in TRANSITIONS.items() if found in TERMINAL}
    assert endings - {JobTransition.CANCEL} == set(ROW_WITHOUT)
