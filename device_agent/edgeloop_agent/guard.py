"""One step of one trial, whose failure is that trial's row and nobody else's."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from edgeloop_protocol.types.run import FailureKind, Outcome

from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner_use import stopped
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["Step", "fault", "guarded"]

_log = logging.getLogger(__name__)

Step = Callable[[ExecutionContext, TrialRecord], Awaitable[None]]
"""Something that is done for one trial; raises ``RunnerFailure``."""


async def guarded(context: ExecutionContext, record: TrialRecord, step: Step) -> None:
    """Carry out one step; its failure is the record's and nobody else's."""
    try:
        if context.stop.reason is not None:
            raise stopped(context)
        await step(context, record)
    except RunnerFailure as failure:
        record.failure = failure
    except Exception as error:
        record.failure = fault(record, error)


def fault(record: TrialRecord, error: Exception) -> RunnerFailure:
    """Return a fault of ours as the outcome of the one trial that met it."""
    _log.error("trial %s failed", record.trial.trial_id, exc_info=error)
    reason = f"the agent failed with {type(error).__name__}: {error}"
    return RunnerFailure(Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, reason[:1000])
