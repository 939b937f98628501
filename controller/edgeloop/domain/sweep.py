"""One model measured at several batch sizes or at several rates of requests, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Estimate

__all__ = ["NO_SWEEP", "BatchPoint", "BatchSweep", "RatePoint", "RateSweep", "SweepPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What is to be swept; nothing by default."""

    #: Items per inference, ascending.
    batch_sizes: tuple[int, ...] = ()
    #: Requests per second, ascending.
    rates_hz: tuple[float, ...] = ()
    #: How the requests of a rate sweep come: "paced", "open_uniform" or "open_poisson".
    arrival: str = "open_poisson"
    #: A rate is carried while its p99 is at most this many times the p99 of the inference alone.
    p99_factor: float = 3.0

    def __post_init__(self) -> None:
        for name, values in (("batch sizes", self.batch_sizes), ("rates", self.rates_hz)):
            if any(value <= 0 for value in values) or list(values) != sorted(set(values)):
                raise InvalidInputError(f"{name} of a sweep are positive, ascending and named once each.")
        if self.p99_factor <= 1.0:
            raise InvalidInputError(f"the factor of the knee is above 1, not {self.p99_factor:g}.")

    def __bool__(self) -> bool:
        return bool(self.batch_sizes or self.rates_hz)


NO_SWEEP = SweepPlan()
"""Sweeps nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPoint:
    """One batch size."""

    batch_size: int
    #: Items per second, 95 % interval.
    throughput_hz: Estimate
    #: Median latency of the batch.
    latency_s: Estimate
    #: That divided by the batch size.
    item_latency_s: Estimate
    #: Run it rests on; empty when there is none.
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSweep:
    """Throughput over batch size on one device."""

    #: Label of the candidate.
    candidate: str
    points: tuple[BatchPoint, ...]
    #: Batch size of the highest throughput; None without figures.
    best_batch_size: int | None
    #: One sentence: which ones it is not told apart from, or why there is none.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """One rate of requests; latency counts from the intended time of sending."""

    offered_rate_hz: float
    #: Requests answered per second; None without a result.
    achieved_rate_hz: float | None
    p50_s: Estimate
    p99_s: Estimate
    #: Requests dropped because the queue was full.
    dropped_count: int | None
    #: Share of the time in which an inference ran.
    duty_cycle: float | None
    #: Whether the rate is carried; None when that is not known.
    carried: bool | None
    #: Why.
    reason: str
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSweep:
    """Latency over rate on one device, up to the knee."""

    candidate: str
    arrival: str
    #: p99 of the inference alone at the lowest rate: what the factor multiplies.
    service_p99_s: Estimate
    p99_factor: float
    points: tuple[RatePoint, ...]
    #: Highest rate carried with every lower one carried too; None when there is none.
    knee_hz: float | None
    #: One sentence.
    reason: str
