"""Jobs on the device and what they report while they run."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["TERMINAL", "Job", "JobEvent", "JobState"]


class JobState(enum.Enum):
    """Where a job stands; every path ends in one of the last five."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


TERMINAL = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.INTERRUPTED}
)
"""States that a job never leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the agent sees it."""

    #: Identifier given by the agent.
    job_id: str
    #: The client's identifier.
    request_id: str
    #: Where it stands.
    state: JobState
    #: Sequence number of its latest event.
    last_sequence: int = 0
    #: Why it failed; empty otherwise.
    reason: str = ""
    #: How long it may be held back before it begins, so that the device rests; its deadline counts from there.
    rest_s_max: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One step of a job; real counts, never an invented percentage."""

    #: Identifier of the job.
    job_id: str
    #: Rises by one with every event of a job, from 1.
    sequence: int
    #: State after the event.
    state: JobState
    #: Trial it concerns; empty for the job as a whole.
    trial_id: str = ""
    #: What happens: "cool_down", "load", "warm-up", "steady", "memory", "nodes", "parity", "done".
    phase: str = ""
    #: Finished pieces of the phase, for example rounds.
    done_count: int = 0
    #: Pieces in all; 0 when not known beforehand.
    total_count: int = 0
    #: Inferences measured so far in this trial.
    sample_count: int = 0
    #: One sentence for people.
    message: str = ""
