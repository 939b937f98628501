"""An experiment of the queue as it is told over HTTP: one form, written by the server and read by its callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop.domain.plain_text import plain_text
from edgeloop.domain.queue import QueuedExperiment
from edgeloop.orchestrate.queue_process import Happening

if TYPE_CHECKING:
    from edgeloop.orchestrate.queue import QueueDesk

__all__ = ["QueueNews", "QueueRow", "queue_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One experiment of the queue; times are seconds since 1970."""

    queue_id: str
    #: "queued", "running", "done", "failed", "cancelled" or "interrupted" (the server ended; it begins anew).
    state: str
    submitted_by: str
    priority: int
    model: str
    data: str
    #: Words that name its devices.
    on: tuple[str, ...]
    created_wall_s: float
    started_wall_s: float | None
    ended_wall_s: float | None
    #: How often it was begun.
    attempt_count: int
    #: Identifier of the experiment of the latest attempt; empty before the first.
    experiment_id: str
    #: What it does now; empty when it does not run.
    doing: str
    #: Why it failed, was called off or is queued again.
    reason: str
    #: Class of the error that it failed by; empty otherwise.
    error_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueNews:
    """An experiment of the queue, and what happened in it."""

    entry: QueueRow
    happenings: tuple[Happening, ...]
    #: For ``after`` of the next question; begins anew with each attempt.
    sequence: int


def queue_row(desk: QueueDesk, entry: QueuedExperiment) -> QueueRow:
    """Return the row of one experiment of the queue."""
    request = entry.submission.request
    return QueueRow(
        queue_id=entry.queue_id,
        state=entry.state.value,
        submitted_by=plain_text(entry.submitted_by, 120),
        priority=entry.submission.priority,
        model=plain_text(request.model.rpartition("/")[2], 120),
        data=plain_text(request.data.partition("?")[0].rpartition("/")[2], 120),
        on=tuple(plain_text(word, 120) for word in entry.submission.on[:50]),
        created_wall_s=entry.created_wall_s,
        started_wall_s=entry.started_wall_s,
        ended_wall_s=entry.ended_wall_s,
        attempt_count=entry.attempt_count,
        experiment_id=entry.experiment_id,
        doing=plain_text(desk.doing(entry.queue_id), 120),
        reason=plain_text(entry.reason),
        error_kind=entry.error_kind,
    )
