"""What a serving process has counted, for the telemetry of its device."""

from __future__ import annotations

import secrets
import threading

from edgeloop_protocol.latency_buckets import bucket_of
from edgeloop_protocol.types.telemetry import ServedTelemetry, ShadowTelemetry, TimeHistogram

from edgeloop_agent.serving.model import ServedModel

__all__ = ["Counts", "Times"]


class Times:
    """A histogram that grows."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        bucket = bucket_of(seconds)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.sum_s += seconds

    def value(self) -> TimeHistogram:
        """Return what was counted."""
        pairs = sorted(self.counts.items())
        return TimeHistogram(
            buckets=tuple(bucket for bucket, _ in pairs),
            counts=tuple(count for _, count in pairs),
            sum_s=self.sum_s,
        )


class Counts:
    """Of one process; times are those of the version that answers now, requests and errors of all.

    Args:
        name: of the deployment.
        threads: of the runtime.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads, self._process = name, threads, secrets.token_hex(8)
        self._lock = threading.Lock()
        self._version = ""
        self._requests = self._errors = 0
        self._latency, self._run = Times(), Times()

    def took_over(self, version: str) -> None:
        """Begin anew with the times: another version answers."""
        with self._lock:
            self._version = version
            self._latency, self._run = Times(), Times()

    def answered(self, version: str, took_s: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests += 1
            if version == self._version:
                self._latency.add(took_s)

    def failed(self) -> None:
        """Count a request that was not."""
        with self._lock:
            self._errors += 1

    def ran(self, version: str, took_s: float) -> None:
        """Count one run on a single row."""
        with self._lock:
            if version == self._version:
                self._run.add(took_s)

    def value(
        self, model: ServedModel | None, queue_length: int, shadow: ShadowTelemetry | None = None
    ) -> ServedTelemetry:
        """Return everything that was counted, with the sketches of the version that answers."""
        watch = None if model is None else model.watch
        with self._lock:
            return ServedTelemetry(
                name=self._name,
                process=self._process,
                counter=0 if model is None else model.slot.counter,
                digest="" if model is None else model.slot.digest,
                request_count=self._requests,
                error_count=self._errors,
                queue_length=queue_length,
                latency=self._latency.value(),
                run=self._run.value(),
                drift=() if watch is None else watch.sketches(),
                reason="" if watch is None else watch.reason,
                threads=self._threads,
                shadow=shadow,
            )
