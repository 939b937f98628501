"""Only records that a client can fetch enter the spool: one that cannot would stand before all later ones."""

from __future__ import annotations

import logging

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import run_wire_bytes
from edgeloop_protocol.types.run import FailureKind, Outcome, Run

from edgeloop_agent.job_journal import JobRecord, run_without_measurement

__all__ = ["RECORD_BYTES_MAX", "deliverable"]

RECORD_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024
"""Longest record on the wire; the rest of the largest message is for what is around it."""

_log = logging.getLogger(__name__)


def deliverable(record: JobRecord, run: Run) -> Run:
    """Return ``run``, or in its place the row that says why nobody could fetch it.

    Names and numbers in a run come from models and from the processes that ran them, so that they may be
    anything: text that is no Unicode, integers beyond 64 bits, a hundred thousand nodes.
    """
    try:
        size = run_wire_bytes(run)
        if size <= RECORD_BYTES_MAX:
            return run
        problem = f"it has {size} bytes, at most {RECORD_BYTES_MAX} can be sent"
    except InvalidInputError as error:
        problem = str(error)
    reason = f"what was measured cannot be sent: {problem}".encode("ascii", "backslashreplace").decode()
    _log.error("run %s: %s", run.run_id, reason)
    return run_without_measurement(
        record, run.trial, Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, reason
    )
