"""Figures beside closed-loop latency: load over time, heat over time, MLPerf scenarios."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Distribution, Estimate

__all__ = ["Arrivals", "ScenarioResult", "Sustained", "Window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What became of scheduled requests; latency counts from the intended time of sending."""

    #: "paced", "open_uniform" or "open_poisson".
    process: str
    #: Requests per second that were to be sent.
    offered_rate_hz: float
    #: Requests per second that were answered.
    achieved_rate_hz: float
    #: Requests answered.
    answered_count: int
    #: Requests dropped because the queue was full; each is a violation of any latency bound.
    dropped_count: int
    #: Longest queue seen.
    queue_count_peak: int
    #: Share of the time in which an inference ran, 0 to 1.
    duty_cycle: float
    #: Latency from the intended time of sending to the answer, dropped requests left out.
    latency: Distribution
    #: Time of the inferences alone.
    service: Distribution
    #: SHA-256 of the blob of raw latencies in the order of the service times in the run's own samples blob:
    #: little-endian int64 nanoseconds; empty when none is kept.
    samples_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """Result of one MLPerf scenario."""

    #: "single_stream", "multi_stream", "server" or "offline".
    scenario: str
    #: Who sent the queries and summed up, with the version: "mlcommons-loadgen 6.0.17" or "edgeloop".
    engine: str
    #: Whether the run met the scenario's own rules (duration, count, early stopping).
    valid: bool
    #: Queries answered.
    query_count: int
    #: Samples answered; more than queries where a query holds several.
    sample_count: int
    #: Duration of the run.
    duration_s: float
    #: Samples per second.
    throughput_hz: float
    #: Latency of queries; absent in the offline scenario.
    latency: Distribution | None = None
    #: The scenario's own percentile with early stopping (p90 single stream, p99 multi stream and server).
    early_stopping_s: Estimate | None = None
    #: Rules that were not met, and whatever else has to be said.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Latency and the state of the device over one window of a sustained run."""

    #: Begin, from the begin of the run.
    start_s: float
    #: Length.
    duration_s: float
    #: Inferences within.
    sample_count: int
    #: Median latency; absent without samples.
    p50_s: float | None = None
    #: 95th percentile by order statistic; absent when the window holds too few samples.
    p95_s: float | None = None
    #: Longest latency.
    maximum_s: float | None = None
    #: Hottest zone at the window's end.
    temperature_celsius: float | None = None
    #: Highest reported clock at the window's end.
    frequency_hz: float | None = None
    #: Throttle events, or flags newly seen, in the window.
    throttle_event_count: int | None = None
    #: Mean power over the window.
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """A run of many minutes in one process: what heat makes of the first minute's figure."""

    #: Windows in order of time.
    windows: tuple[Window, ...]
    #: Median latency of the first minute (of the first window where the run is shorter).
    first_minute_p50_s: Estimate
    #: Median latency of the last minute.
    last_minute_p50_s: Estimate
    #: 95th percentile of the last minute.
    last_minute_p95_s: Estimate
    #: Last minute over first minute, with its interval; above 1 is slower.
    ratio: Estimate
    #: Time from the begin to the first throttle event; absent with the reason when none was seen or none can be.
    time_to_throttle_s: Estimate
    #: Duration of the run.
    duration_s: float
    #: SHA-256 of the blob of raw samples, little-endian int64 nanoseconds; empty when none is kept.
    samples_digest: str = ""
    #: Which inferences percentiles and blob rest on, or why there is no blob; counts and maxima are of all of them.
    thinning: str = ""
