"""A candidate that gets a copy of what is asked and whose answers nobody sees but the one who counts.

It runs in a thread of its own with the lowest priority, one request at a time: what comes faster than that is dropped
and counted, so that the one that answers never waits for the one that is tried. Its outputs are held against the
answer by the rules of parity, under the tolerance that its own manifest states against the original.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import Comparison
from edgeloop_protocol.types.telemetry import ShadowTelemetry

from edgeloop_agent.runner.parity import compare
from edgeloop_agent.serving.counts import Times
from edgeloop_agent.serving.model import ServedModel
from edgeloop_agent.serving.tensors import Array
from edgeloop_agent.serving.versions import Versions

__all__ = ["WAITING_MAX", "Shadow", "ShadowModel"]

WAITING_MAX = 4
"""Copies that wait for the candidate; they are whole requests, so there are few."""

_NICE = 19
_ENDS_S = 10.0

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowModel:
    """A candidate, open and warm."""

    #: What runs.
    model: ServedModel
    #: Its manifest: tolerances and how decisions are read.
    artifact: Artifact


class Shadow:
    """The candidate of one deployment that is served.

    Args:
        name: deployment whose committed version is tried.
        versions: that version.
        judged: is told how each copy went: "same", "outside", "unjudged" or "failed"; and "dropped".
    """

    def __init__(self, name: str, versions: Versions[ShadowModel], judged: Callable[[str], None]) -> None:
        self._name, self._versions, self._judged = name, versions, judged
        self._waiting: collections.deque[tuple[Feeds, Feeds]] = collections.deque()
        self._turn, self._ends = threading.Condition(), False
        self._thread: threading.Thread | None = None
        self._version, self._times = "", Times()
        self._seen = ShadowTelemetry(name=name)

    def offer(self, feeds: Feeds, outputs: Feeds) -> None:
        """Hand over a copy of a request and its answer; never waits."""
        with self._turn:
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append((feeds, outputs))
                self._turn.notify()
                return
            self._seen = replace(self._seen, dropped_count=self._seen.dropped_count + 1)
        self._judged("dropped")

    def start(self) -> None:
        """Follow the candidate's versions and try what is offered from now on."""
        self._versions.start()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Try nothing more; a run under way is waited for, for some seconds."""
        self._versions.stop()
        with self._turn:
            self._ends = True
            self._waiting.clear()
            self._turn.notify()
        if self._thread is not None:
            self._thread.join(_ENDS_S)
            self._thread = None

    def value(self) -> ShadowTelemetry:
        """Return what was counted of the version that is tried now."""
        candidate = self._versions.current
        with self._turn:
            self._begin_anew(candidate)
            return replace(
                self._seen,
                counter=0 if candidate is None else candidate.model.slot.counter,
                digest="" if candidate is None else candidate.model.slot.digest,
                run=self._times.value(),
                reason=self._versions.refused
                or (self._seen.reason if candidate else f"no version of {self._name} is ready here."),
            )

    def _begin_anew(self, candidate: ShadowModel | None) -> None:
        version = "" if candidate is None else candidate.model.slot.text
        if version != self._version:
            self._version, self._times = version, Times()
            self._seen = ShadowTelemetry(name=self._name)

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            # Of this thread alone, on Linux: 0 is who calls.
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        while True:
            with self._turn:
                while not self._waiting and not self._ends:
                    self._turn.wait()
                if self._ends:
                    return
                feeds, outputs = self._waiting.popleft()
            candidate = self._versions.current
            if candidate is not None:
                self._try(candidate, feeds, outputs)

    def _try(self, candidate: ShadowModel, feeds: Feeds, answered: Feeds) -> None:
        with self._turn:
            self._begin_anew(candidate)
        started_s, found, reason = time.perf_counter(), None, ""
        try:
            outputs = candidate.model.run({name: feeds[name] for name in candidate.model.inputs})
            took_s = time.perf_counter() - started_s
            named = dict(zip(candidate.model.output_names, outputs, strict=True))
            found = _compared(candidate.artifact, named, answered)
        except KeyError as error:
            reason = f"it takes an input {error} that requests do not have."
        except (EdgeloopError, ValueError, TypeError, IndexError) as error:
            reason = str(error)
        with self._turn:
            if found is None:
                self._seen = replace(
                    self._seen, failed_count=self._seen.failed_count + 1, reason=reason[:300]
                )
                outcome = "failed"
            else:
                self._times.add(took_s)
                outcome = self._count(found)
        self._judged(outcome)

    def _count(self, found: Comparison) -> str:
        seen, decision = self._seen, found.decision
        inside = all(output.within_tolerance for output in found.outputs)
        error = max((output.max_relative_error for output in found.outputs), default=0.0)
        stated = bool(found.tolerance_class)
        self._seen = replace(
            seen,
            compared_count=seen.compared_count + 1,
            outside_count=seen.outside_count + (stated and not inside),
            decision_count=seen.decision_count + (0 if decision is None else decision.item_count),
            changed_decision_count=seen.changed_decision_count
            + (0 if decision is None else decision.flip_count),
            relative_error_max=max(seen.relative_error_max, error if np.isfinite(error) else 1.0),
        )
        return "same" if inside and stated else "outside" if stated else "unjudged"


def _compared(artifact: Artifact, found: Feeds, answered: Feeds) -> Comparison:
    """Hold the outputs of the candidate against the answer.

    Raises:
        ValueError: they have no output in common, or another shape.
    """
    common = {name: array for name, array in answered.items() if name in found}
    if not common:
        raise ValueError(f"it returns {', '.join(found)}, and the answers have {', '.join(answered)}.")
    for name, array in common.items():
        if found[name].shape != array.shape:
            raise ValueError(
                f"its output {name!r} has the shape {found[name].shape}, the answer {array.shape}."
            )
    return compare(artifact, "served", dict(found), common, dict(artifact.tolerances).get("original"))
