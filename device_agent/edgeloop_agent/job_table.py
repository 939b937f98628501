"""The states of a job: a table without I/O. A state is on the disk before it is acted upon."""

from __future__ import annotations

import enum

from edgeloop_foundation.transitions import next_in
from edgeloop_protocol.types.job import TERMINAL, JobState
from edgeloop_protocol.types.run import FailureKind, Outcome

__all__ = ["ROW_WITHOUT", "TRANSITIONS", "JobTransition", "next_state"]


class JobTransition(enum.Enum):
    """What happens to a job."""

    START = "start"
    CANCEL = "cancel"
    SUCCEED = "succeed"
    FAIL = "fail"
    STOPPED = "stopped"
    TIME_OUT = "time_out"
    INTERRUPT = "interrupt"


TRANSITIONS: dict[tuple[JobState, JobTransition], JobState] = {
    (JobState.ACCEPTED, JobTransition.START): JobState.RUNNING,
    (JobState.ACCEPTED, JobTransition.CANCEL): JobState.CANCELLING,
    (JobState.ACCEPTED, JobTransition.FAIL): JobState.FAILED,
    (JobState.ACCEPTED, JobTransition.TIME_OUT): JobState.TIMED_OUT,
    (JobState.ACCEPTED, JobTransition.INTERRUPT): JobState.INTERRUPTED,
    (JobState.RUNNING, JobTransition.CANCEL): JobState.CANCELLING,
    (JobState.RUNNING, JobTransition.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, JobTransition.FAIL): JobState.FAILED,
    (JobState.RUNNING, JobTransition.TIME_OUT): JobState.TIMED_OUT,
    (JobState.RUNNING, JobTransition.INTERRUPT): JobState.INTERRUPTED,
    (JobState.CANCELLING, JobTransition.CANCEL): JobState.CANCELLING,
    (JobState.CANCELLING, JobTransition.STOPPED): JobState.CANCELLED,
    (JobState.CANCELLING, JobTransition.FAIL): JobState.FAILED,
    (JobState.CANCELLING, JobTransition.TIME_OUT): JobState.TIMED_OUT,
    (JobState.CANCELLING, JobTransition.INTERRUPT): JobState.INTERRUPTED,
    # Asking for what is over to stop is no error and has no effect.
    **{(state, JobTransition.CANCEL): state for state in TERMINAL},
}
"""The whole table; what is not in it is refused."""

ROW_WITHOUT: dict[JobTransition, tuple[Outcome, FailureKind]] = {
    JobTransition.SUCCEED: (Outcome.HARNESS_ERROR, FailureKind.INTERRUPTED),
    JobTransition.FAIL: (Outcome.HARNESS_ERROR, FailureKind.INTERRUPTED),
    JobTransition.STOPPED: (Outcome.CANCELLED, FailureKind.CANCELLED),
    JobTransition.TIME_OUT: (Outcome.TIMEOUT, FailureKind.DEADLINE),
    JobTransition.INTERRUPT: (Outcome.DEVICE_ERROR, FailureKind.INTERRUPTED),
}
"""What a trial without a run is recorded as."""


def next_state(state: JobState, event: JobTransition) -> JobState:
    """Return the state after an event.

    Raises:
        StateError: the table does not allow it.
    """
    return next_in(TRANSITIONS, state, event, "a job")
