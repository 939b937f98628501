"""What a job is given to run, and what it reports back; the seam between the job table and the benchmark."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeloop_foundation.ports.clock import Clock
from edgeloop_protocol.types.conditions import Rest
from edgeloop_protocol.types.run import Outcome, Run
from edgeloop_protocol.types.trial import JobSpec

if TYPE_CHECKING:
    from edgeloop_agent.board import Board
    from edgeloop_agent.failure import RunnerFailure

__all__ = ["Execute", "ExecutionContext", "Progress", "StopSignal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a running job; real counts, never an invented percentage."""

    #: Trial it concerns; empty for the job as a whole.
    trial_id: str = ""
    #: "cool_down", "idle_before", "idle_after", "load_pulse", "load", "warm-up", "steady", "sustained", "scenario",
    #: "memory", "nodes", "parity" or "done".
    phase: str = ""
    #: Finished pieces of the phase.
    done_count: int = 0
    #: Pieces in all; 0 when not known beforehand.
    total_count: int = 0
    #: Inferences measured so far in this trial.
    sample_count: int = 0
    #: One sentence for people.
    message: str = ""


class StopSignal:
    """Asks a running job to stop, once, with the reason that its rows shall carry."""

    def __init__(self) -> None:
        self._reason: Outcome | None = None
        self._event = asyncio.Event()

    @property
    def reason(self) -> Outcome | None:
        """``CANCELLED`` or ``TIMEOUT`` once asked to stop, else None."""
        return self._reason

    def set(self, reason: Outcome) -> None:
        """Ask to stop; the first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._event.set()

    async def wait(self) -> Outcome:
        """Wait until asked to stop and return the reason."""
        await self._event.wait()
        return self._reason or Outcome.CANCELLED


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionContext:
    """Everything one job needs; no part of it knows the wire or the disk layout of the agent."""

    #: The board to measure on.
    board: Board
    #: What to measure.
    spec: JobSpec
    #: Identifier given by the agent; run ids derive from it.
    job_id: str
    #: Identifier of the device.
    device_id: str
    #: Name of the device for people.
    device_name: str
    #: Boot it runs in.
    boot_id: str
    #: Version of the agent.
    agent_version: str
    #: Artifact digest to the directory it is laid out in.
    directories: Mapping[str, Path]
    #: Keeps bytes in the content-addressed store and returns their SHA-256.
    store_blob: Callable[[bytes], Awaitable[str]]
    #: Tells watchers how far the job is; never blocks.
    report: Callable[[Progress], None]
    #: Asks the job to stop.
    stop: StopSignal
    #: Wall time for people; job time is the board's own clock.
    wall_clock: Clock
    #: How the board rested before; None when no rest is set.
    rest: Rest | None = None
    #: Says why an artifact is not opened on this device; None when it is.
    refusal: Callable[[str], RunnerFailure | None] = lambda _digest: None


class Execute(Protocol):
    """Runs a job to its end; a failing trial is a row, never an exception."""

    async def __call__(self, context: ExecutionContext) -> tuple[Run, ...]:
        """Return one run per trial, in the order of the spec, also when asked to stop."""
        ...
