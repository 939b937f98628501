"""Requests of either protocol to answers: which version, what line, what is counted."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from edgeloop_foundation.errors import (
    BusyError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from edgeloop_protocol.types.artifact import TensorSpec
from edgeloop_protocol.types.serving import ServingSpec
from edgeloop_protocol.types.telemetry import ServedTelemetry

from edgeloop_agent.serving.batcher import Batcher, Ride, RunReport
from edgeloop_agent.serving.counts import Counts
from edgeloop_agent.serving.forms import Forms
from edgeloop_agent.serving.metrics import SECONDS, Counter, Histogram, exposition, gauge
from edgeloop_agent.serving.model import ServedModel
from edgeloop_agent.serving.request_log import RequestLog
from edgeloop_agent.serving.shadow import Shadow
from edgeloop_agent.serving.tensors import Array
from edgeloop_agent.serving.versions import Versions

__all__ = ["Answer", "Engine"]

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Answer(NamedTuple):
    """What a request gets back."""

    #: Version that answered.
    version: str
    #: Name and values of each output that was wanted.
    outputs: tuple[tuple[str, Array], ...]
    #: How it came to be.
    ride: Ride
    #: What most of the version's arithmetic is in.
    precision: str


class Counted:
    """One request while it is inside: a context manager that takes its answer.

    Written out, not generated: half of a generator's work happens while the answer waits.

    Args:
        engine: counts.
        protocol: that it came by.
    """

    __slots__ = ("_engine", "_protocol", "_started_s", "answer")

    def __init__(self, engine: Engine, protocol: str) -> None:
        self._engine, self._protocol, self._started_s = engine, protocol, time.perf_counter()
        #: What it is answered with.
        self.answer: Answer | None = None

    def __enter__(self) -> Counted:
        """Take a place.

        Raises:
            BusyError: as many requests are inside as may wait and run.
        """
        try:
            self._engine.enter()
        except BusyError as error:
            self._engine.count_error(error, self._protocol)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Leave it, and count the answer or the error."""
        self._engine.leave()
        if error is not None:
            if isinstance(error, Exception):
                self._engine.count_error(error, self._protocol)
        elif self.answer is not None:
            self._engine.count_answer(self.answer, self._protocol, time.perf_counter() - self._started_s)


class Engine:
    """One deployment that answers.

    Args:
        spec: how it is served.
        versions: what answers.
        log: takes a line per request.
    """

    def __init__(self, spec: ServingSpec, versions: Versions[ServedModel], log: RequestLog) -> None:
        self.spec, self.versions = spec, versions
        self._log, self._counts = log, Counts(spec.name, spec.threads)
        self._uncounted: deque[Callable[[], None]] = deque()
        self._batcher = Batcher(
            spec.queue_max,
            spec.delay_s_max,
            lambda report: self._uncounted.append(functools.partial(self._ran, report)),
        )
        self._inside, self._count = 0, threading.Lock()
        name = "edgeloop_serving_"
        about = "Time from a whole request to its answer, in seconds."
        self._requests = Histogram(f"{name}request_seconds", about, ("model", "version", "protocol"), SECONDS)
        about = "Time that a request waited for its run, in seconds."
        self._waits = Histogram(f"{name}queue_seconds", about, ("model", "version"), SECONDS)
        about = "Time of one run of the runtime, in seconds."
        self._runs = Histogram(f"{name}run_seconds", about, ("model", "version"), SECONDS)
        about = "Rows that were run together."
        self._batches = Histogram(f"{name}batch_rows", about, ("model", "version"), _BATCHES)
        about = "Requests that were not answered, by the error they got."
        self._errors = Counter(f"{name}errors_total", about, ("model", "protocol", "error"))
        about = "Copies of requests that a candidate got, by how its outputs compare to the answer."
        self._shadowed = Counter(f"{name}shadow_total", about, ("model", "candidate", "outcome"))
        #: The second form and when it answers; None when there is none.
        self.forms: Forms | None = None
        #: Gets a copy of each request; None when nothing is tried.
        self.shadow: Shadow | None = None
        self._switches = Counter(f"{name}switches_total", "Versions that took over.", ("model", "version"))

    def took_over(self, model: ServedModel) -> None:
        """Count a version that answers from now on."""
        self._switches.add(self.spec.name, model.version)
        self._counts.took_over(model.version)

    @property
    def waiting(self) -> int:
        """How many requests wait for a run."""
        return self._batcher.waiting

    def judged(self, outcome: str) -> None:
        """Count how a copy of a request went."""
        self._shadowed.add(self.spec.name, self.spec.shadow, outcome)

    @property
    def active(self) -> ServedModel | None:
        """What answers: the second form while it is its turn, else the version of the deployment itself."""
        second = None if self.forms is None else self.forms.chosen
        return self.versions.current if second is None else second

    @property
    def ready(self) -> bool:
        """Whether a version answers."""
        return self.active is not None

    def model(self, name: str, version: str) -> ServedModel:
        """Return the version that a request is for; an empty one stands for the one that answers.

        Raises:
            NotFoundError: it is not served here.
            UnavailableError: no version is ready yet.
        """
        if name != self.spec.name:
            raise NotFoundError(f"there is no model {name[:80]!r} here; {self.spec.name!r} is served.")
        model = self.active
        if model is None:
            raise UnavailableError(
                f"model {name!r} is not ready: {self.versions.refused or 'it is being loaded'}.",
                next_step="Try again in a moment.",
            )
        if version not in ("", model.version):
            raise NotFoundError(f"version {version[:40]!r} of {name!r} is not served; {model.version} is.")
        return model

    def infer(
        self,
        model: ServedModel,
        feeds: Mapping[str, Array],
        wanted: Sequence[str],
        alive: Callable[[], bool],
    ) -> Answer:
        """Answer one request.

        Args:
            model: the version that its inputs were held against.
            feeds: its inputs, each as the model takes it.
            wanted: names of the outputs that come back; none stands for all.
            alive: whether somebody still waits for the answer.

        Raises:
            InvalidInputError: an input is missing, rows do not agree, or an output is unknown.
            EdgeloopError: the line is full, the server ends, or the runtime failed.
        """
        if missing := [name for name in model.inputs if name not in feeds]:
            raise InvalidInputError(f"the input {missing[0]!r} is missing.")
        if unknown := [name for name in wanted if name not in model.output_names]:
            raise InvalidInputError(
                f"there is no output {unknown[0][:80]!r}; {', '.join(model.output_names)} are."
            )
        if model.batch_limit > 1 and len({array.shape[0] for array in feeds.values()}) != 1:
            raise InvalidInputError("all inputs have the same number of rows.")
        outputs, ride = self._batcher.submit(model, feeds, alive)
        named = dict(zip(model.output_names, outputs, strict=True))
        if model.watch is not None:
            model.watch.add(feeds, named)
        if self.shadow is not None:
            self.shadow.offer(feeds, named)
        return Answer(
            version=model.version,
            outputs=tuple((name, named[name]) for name in wanted or model.output_names),
            ride=ride,
            precision=model.precision,
        )

    def counted(self, protocol: str) -> Counted:
        """Return what counts a request; ``settle`` once its answer is on its way."""
        return Counted(self, protocol)

    def enter(self) -> None:
        """Bound the requests in memory, those that are still being read included.

        Raises:
            BusyError: as many are inside as may wait and run.
        """
        with self._count:
            # Two batches beside those who wait: the one that runs, and the one whose answers are being written.
            if self._inside >= self.spec.queue_max + 2 * self.spec.batch_max:
                raise BusyError(f"{self._inside} requests are under way.", next_step="Try again in a moment.")
            self._inside += 1

    def leave(self) -> None:
        """Make room for another request."""
        with self._count:
            self._inside -= 1

    def count_answer(self, answer: Answer, protocol: str, took_s: float) -> None:
        """Count an answer when ``settle`` is called next."""
        self._uncounted.append(functools.partial(self._answered, answer, protocol, took_s, time.time()))

    def count_error(self, error: BaseException, protocol: str) -> None:
        """Count a request that is not answered."""
        kind = type(error).__name__ if isinstance(error, EdgeloopError) else "InternalError"
        self._errors.add(self.spec.name, protocol, kind)
        self._counts.failed()

    def settle(self) -> None:
        """Count what was answered since the last time: what nobody waits for comes after the answer."""
        with contextlib.suppress(IndexError):
            while True:
                self._uncounted.popleft()()

    def _answered(self, answer: Answer, protocol: str, took_s: float, wall_s: float) -> None:
        self._requests.observe(took_s, self.spec.name, answer.version, protocol)
        self._counts.answered(answer.version, took_s)
        if self._log.on:
            self._log.add(
                wall_s=wall_s,
                latency_s=took_s,
                queue_s=answer.ride.wait_s,
                rows=answer.ride.row_count,
                version=answer.version,
                precision=answer.precision,
                protocol=protocol,
            )

    def _ran(self, report: RunReport) -> None:
        labels = (self.spec.name, report.version)
        self._runs.observe(report.run_s, *labels)
        if report.row_count == 1:
            self._counts.ran(report.version, report.run_s)
        self._batches.observe(report.row_count, *labels)
        for wait_s in report.waits_s:
            self._waits.observe(wait_s, *labels)

    def scrape(self) -> bytes:
        """Return everything that is counted, as Prometheus text."""
        self.settle()
        name = "edgeloop_serving_"
        label = {"model": self.spec.name}
        model = self.active
        about = "Whether a version answers."
        gauges = [gauge(f"{name}ready", about, label, float(model is not None))]
        gauges.append(gauge(f"{name}queue_length", "Requests that wait.", label, self._batcher.waiting))
        about = "Requests under way, those that are still being read included."
        gauges.append(gauge(f"{name}requests_under_way", about, label, self._inside))
        if model is not None:
            labels = {**label, "version": model.version, "digest": model.slot.digest}
            gauges.append(gauge(f"{name}version_info", "The version that answers.", labels, 1))
        families = (
            *(self._requests, self._waits, self._runs, self._batches),
            *(self._errors, self._switches, self._shadowed),
        )
        return exposition(chain(*gauges, *(family.lines() for family in families)))

    def telemetry(self) -> ServedTelemetry:
        """Return what was counted, and let the request log reach the disk."""
        self.settle()
        self._log.flush()
        shadow = None if self.shadow is None else self.shadow.value()
        return self._counts.value(self.active, self._batcher.waiting, shadow)

    def close(self, grace_s: float) -> bool:
        """Take no more requests; return whether all were answered within ``grace_s``."""
        closed = self._batcher.close(grace_s)
        if self.shadow is not None:
            self.shadow.stop()
        self.settle()
        self._log.flush()
        return closed

    def metadata(self, model: ServedModel) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
        """Return inputs and outputs of a version."""
        return tuple(model.inputs.values()), model.outputs
