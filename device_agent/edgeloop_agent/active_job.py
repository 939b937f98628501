"""The one job that is not over: what of it lives in memory only."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque

from edgeloop_protocol.types.conditions import Rest
from edgeloop_protocol.types.job import JobEvent
from edgeloop_protocol.types.trial import JobSpec

from edgeloop_agent.execution import Progress, StopSignal
from edgeloop_agent.job_journal import JobRecord

__all__ = ["ActiveJob"]

_EVENTS_KEPT = 1024


class ActiveJob:
    """A job between its acceptance and its end; owned by the one loop."""

    def __init__(self, record: JobRecord, spec: JobSpec) -> None:
        self.record = record
        self.spec = spec
        self.stop = StopSignal()
        self.events: deque[JobEvent] = deque(maxlen=_EVENTS_KEPT)
        self.changed = asyncio.Event()
        self.lock = asyncio.Lock()
        self.pins: frozenset[str] = frozenset()
        self.finishing = False
        self.stop_reason = ""
        self.over = asyncio.Event()
        self.rest: Rest | None = None
        self.task: asyncio.Task[None] | None = None

    def report(self, progress: Progress) -> None:
        """Add an event; watchers see it in their next turn."""
        sequence = self.record.last_sequence + 1
        self.record = dataclasses.replace(self.record, last_sequence=sequence)
        self.events.append(
            JobEvent(
                job_id=self.record.job_id,
                sequence=sequence,
                state=self.record.state,
                trial_id=progress.trial_id,
                phase=progress.phase,
                done_count=progress.done_count,
                total_count=progress.total_count,
                sample_count=progress.sample_count,
                message=progress.message,
            )
        )
        self.changed.set()
