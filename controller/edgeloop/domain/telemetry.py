"""What is known of devices over time: the newest sample, series of a quantity, what was served in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.latency_buckets import quantile_s
from edgeloop_protocol.types.telemetry import TelemetrySample, TelemetryStatus

from edgeloop.domain.alert import Alert

__all__ = [
    "DAY_S",
    "QUANTITIES",
    "SERVED_QUANTITIES",
    "Collected",
    "DeviceTelemetry",
    "DriftFound",
    "Retention",
    "Series",
    "SeriesPoint",
    "ServedWindow",
    "Shown",
    "TelemetryBatch",
    "Traffic",
]

DAY_S = 86_400.0

QUANTITIES: Mapping[str, str] = {
    "cpu_busy_share": "ratio",
    "load_average_1min": "count",
    "available_memory_bytes": "B",
    "temperature_celsius": "celsius",
    "frequency_hz": "Hz",
    "throttled_share": "ratio",
    "power_w": "W",
    "disk_free_bytes": "B",
    "network_received_bytes_per_s": "B/s",
    "network_sent_bytes_per_s": "B/s",
    "agent_memory_bytes": "B",
    "spool_waiting_count": "count",
}
"""Quantities of a device that have a series -> unit."""

SERVED_QUANTITIES: Mapping[str, str] = {
    "requests_per_s": "1/s",
    "errors_per_s": "1/s",
    "queue_length": "count",
    "latency_p50_s": "s",
    "latency_p99_s": "s",
}
"""Quantities of a served deployment that have a series -> unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much telemetry is kept."""

    #: Longest age of a sample.
    age_s: float = 30 * DAY_S
    #: Most bytes of the file, over all devices; the oldest samples go first.
    bytes_max: int = 1 << 30

    def __post_init__(self) -> None:
        if self.age_s <= 0 or self.bytes_max < 1 << 20:
            raise InvalidInputError("telemetry is kept for some time, in 1 MiB at least.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryBatch:
    """What one reading of a device brought."""

    #: Identifier of the device's ring that was asked for; empty when nothing was known of it.
    asked_epoch: str
    #: Number after which samples were asked for.
    asked_after: int
    #: How the ring stands.
    status: TelemetryStatus
    #: Samples after that number that nobody will get any more.
    dropped_count: int
    #: In order.
    samples: tuple[TelemetrySample, ...]
    #: Bytes of the answers on the wire, without framing and encryption.
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTelemetry:
    """What is known of one device."""

    #: Its name.
    device: str
    #: Identifier that it told; empty before it answered.
    device_id: str = ""
    #: When it was last asked, controller's clock, seconds since 1970.
    asked_s: float
    #: When it last answered; absent when it never did.
    answered_s: float | None = None
    #: Since when it has not answered; absent while it does.
    silent_since_s: float | None = None
    #: Why it did not answer, or has no samples; empty otherwise.
    reason: str = ""
    #: Newest sample; absent when there never was one.
    sample: TelemetrySample | None = None
    #: Time of the newest sample on the controller's clock.
    sample_s: float | None = None
    #: Time between two of its samples; 0 when it takes none.
    period_s: float = 0.0
    #: Samples that were lost before they were read, since the device is known.
    dropped_count: int = 0
    #: When its certificate runs out; absent when it is not enrolled, or does not tell.
    certificate_expires_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPoint:
    """What was seen within one step of time."""

    #: Begin of the step, controller's clock, seconds since 1970.
    start_s: float
    #: How many samples had the quantity.
    count: int
    #: The smallest.
    minimum: float
    #: Arithmetic mean.
    mean: float
    #: The largest.
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One quantity of one device over time; steps in which nothing was seen are left out."""

    device: str
    #: One of ``QUANTITIES`` or ``SERVED_QUANTITIES``.
    quantity: str
    #: Of the values.
    unit: str
    #: Length of a step.
    step_s: float
    #: Of a served quantity, the deployment; empty otherwise.
    model: str = ""
    points: tuple[SeriesPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes that telemetry took from one device on one day (UTC)."""

    device: str
    #: Begin of the day, seconds since 1970.
    day_s: float
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFound:
    """How far one tensor was from the golden pack within a window."""

    #: Name of the tensor.
    tensor: str
    #: True for an output.
    is_output: bool
    #: Rows that were looked at.
    row_count: int
    #: Population stability index; absent without rows.
    stability_index: float | None
    #: Kolmogorov-Smirnov distance at the edges of the bins; absent without rows.
    kolmogorov_smirnov: float | None
    #: Stability index between halves of the golden pack: less is no drift.
    reference_index: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedWindow:
    """What one version of one deployment did on one device within a window."""

    device: str
    #: Name of the deployment.
    name: str
    #: Counter of the release.
    counter: int
    #: Digest of its artifact.
    digest: str
    #: Requests that were answered.
    request_count: int
    #: Requests that were not.
    error_count: int
    #: Bucket of ``latency_buckets`` -> requests that took so long.
    latency: tuple[tuple[int, int], ...]
    #: Bucket -> runs on a single row that took so long.
    run: tuple[tuple[int, int], ...]
    #: Per watched tensor with rows in this window.
    drift: tuple[DriftFound, ...] = ()
    #: Threads of the runtime.
    threads: int = 0

    def latency_s(self, share: float) -> float | None:
        """Return a quantile of the time of a request; absent without any."""
        return quantile_s(dict(self.latency), share)

    def run_s(self, share: float) -> float | None:
        """Return a quantile of the time of a run; absent without any."""
        return quantile_s(dict(self.run), share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one pass over one device brought."""

    device: str
    #: Samples that are new.
    sample_count: int = 0
    #: Samples that were lost since the pass before.
    dropped_count: int = 0
    #: Bytes on the wire.
    received_bytes: int = 0
    #: Why the device did not answer; empty when it did.
    error: str = ""
    #: Why there are no samples, or fewer; empty otherwise.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is known of one device over a window, for people to look at."""

    device: DeviceTelemetry
    #: Begin of the window, seconds since 1970; it ends at the moment of asking.
    since_s: float
    #: Quantities of the device that were seen.
    series: tuple[Series, ...]
    #: Quantities of each served deployment that were seen.
    served_series: tuple[Series, ...]
    #: What each version did in the window.
    served: tuple[ServedWindow, ...]
    #: Bytes by day, over the last week.
    traffic: tuple[Traffic, ...]
    #: Alerts of the device that are open.
    alerts: tuple[Alert, ...]
