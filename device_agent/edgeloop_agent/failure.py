"""How a runner process failed: what the run's row will say. Both sides of the pipe build and read it."""

from __future__ import annotations

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.types.outcome import FailureKind, Outcome

__all__ = ["RunnerFailure"]


class RunnerFailure(EdgeloopError, RuntimeError):  # noqa: N818 - it is an outcome
    """A runner process or one of its commands failed; becomes the outcome of one run, never of the agent."""

    def __init__(self, outcome: Outcome, failure_kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.failure_kind = failure_kind
        self.reason = reason
