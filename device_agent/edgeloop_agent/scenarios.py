"""The MLPerf scenarios by our own means, and the rules by which their results are read.

Law: standard library only, time comes in as functions as in ``arrivals``. Where ``mlcommons-loadgen`` is installed
it sends the queries instead; what is summed up is the same. Nothing here is an MLPerf result: those come from
submissions that MLCommons has reviewed.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeloop_foundation.statistics import early_stopping_estimate

from edgeloop_agent.arrivals import Now, Serve, WaitUntil, draw_schedule, serve_schedule
from edgeloop_agent.samples import ThinnedSamples, to_bytes

__all__ = ["OVERTIME", "PERCENTILES", "QUERY_FLOORS", "STREAM_SAMPLES", "Plan", "Played", "play"]

STREAM_SAMPLES = 8
"""Samples of one multi-stream query."""

PERCENTILES = {"single_stream": 0.9, "multi_stream": 0.99, "server": 0.99}
"""The percentile that each scenario reports."""

QUERY_FLOORS = {"single_stream": 64, "multi_stream": 662, "server": 662}
"""Fewest queries from which that percentile may be stated by early stopping."""

OVERTIME = 4.0
"""A slow model gets up to so many times the least duration for its fewest queries."""

_NS = 1_000_000_000
_WAITING_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one scenario is to do."""

    #: "single_stream", "multi_stream", "server" or "offline".
    scenario: str
    #: Least duration.
    duration_s_min: float
    #: Items of one inference.
    batch_size: int
    #: Queries per second of the server scenario.
    rate_hz: float = 0.0
    #: Latency bound of the server scenario.
    latency_bound_s: float = 0.0
    #: Seed of the server's schedule.
    seed: int = 0
    #: Time of one inference as the warm-up saw it; sizes the offline query.
    inference_s: float

    @property
    def offline_sample_count(self) -> int:
        """Return how many samples fill the least duration."""
        inferences = math.ceil(self.duration_s_min / max(self.inference_s, 1e-6))
        return max(1, inferences) * self.batch_size

    @property
    def server_query_count(self) -> int:
        """Return how many queries fill the least duration, or the floor where overtime permits that many."""
        filled = math.ceil(self.rate_hz * self.duration_s_min)
        permitted = math.floor(self.rate_hz * self.duration_s_min * OVERTIME)
        return max(1, filled, min(QUERY_FLOORS["server"], permitted))


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of it, before anybody judges."""

    engine: str
    query_count: int
    sample_count: int
    duration_ns: int
    #: Latency of each query; empty for the offline scenario.
    latency_ns: array[int] = field(default_factory=lambda: array("q"))
    #: Early-stopping estimate of the scenario's percentile; None when the queries do not suffice for one.
    early_stopping_ns: int | None = None
    #: Rules that the engine itself found broken.
    complaint: str = ""

    def estimate(self, q: float) -> None:
        """Set the early-stopping estimate from the latencies."""
        found = early_stopping_estimate(sorted(self.latency_ns), q)
        self.early_stopping_ns = None if found is None else round(found)

    def answer(self, latency_bound_s: float) -> tuple[dict[str, object], bytes]:
        """Return header and payload of an answer; the latencies are evenly thinned to fit a frame."""
        latency = ThinnedSamples()
        latency.extend(self.latency_ns)
        bound_ns = latency_bound_s * _NS
        header: dict[str, object] = {
            "engine": self.engine,
            "query_count": self.query_count,
            "sample_count": self.sample_count,
            "duration_ns": self.duration_ns,
            "early_stopping_ns": self.early_stopping_ns,
            "complaint": self.complaint,
            "minimum_ns": latency.minimum,
            "maximum_ns": latency.maximum,
            "slow_count": sum(latency > bound_ns for latency in self.latency_ns) if bound_ns else None,
        }
        return header, to_bytes(latency.kept)


def play(plan: Plan, now: Now, wait_until: WaitUntil, serve: Serve) -> Played:
    """Play one scenario with our own queries."""
    players: dict[str, Callable[[], Played]] = {
        "single_stream": lambda: _stream(plan, 1, now, serve),
        "multi_stream": lambda: _stream(plan, STREAM_SAMPLES, now, serve),
        "server": lambda: _server(plan, now, wait_until, serve),
        "offline": lambda: _offline(plan, now, serve),
    }
    played = players[plan.scenario]()
    if plan.scenario in PERCENTILES:
        played.estimate(PERCENTILES[plan.scenario])
    return played


def _stream(plan: Plan, samples: int, now: Now, serve: Serve) -> Played:
    """Send the next query when the one before is answered."""
    latency, floor = array("q"), QUERY_FLOORS[plan.scenario]
    inferences = math.ceil(samples / plan.batch_size)
    start = now()
    least, longest = plan.duration_s_min * _NS, plan.duration_s_min * OVERTIME * _NS
    while (elapsed := now() - start) < least or (len(latency) < floor and elapsed < longest):
        before, after = serve()
        for _ in range(inferences - 1):
            _, after = serve()
        latency.append(after - before)
    return Played(
        engine="edgeloop",
        query_count=len(latency),
        sample_count=len(latency) * samples,
        duration_ns=now() - start,
        latency_ns=latency,
    )


def _server(plan: Plan, now: Now, wait_until: WaitUntil, serve: Serve) -> Played:
    schedule = draw_schedule("open_poisson", plan.rate_hz, plan.server_query_count, plan.seed)
    served = serve_schedule(
        schedule, _WAITING_MAX, now, wait_until, serve, requests_per_inference=plan.batch_size
    )
    return Played(
        engine="edgeloop",
        query_count=len(served.latency_ns),
        sample_count=len(served.latency_ns),
        duration_ns=served.end_ns - served.start_ns,
        latency_ns=served.latency_ns,
    )


def _offline(plan: Plan, now: Now, serve: Serve) -> Played:
    start = now()
    for _ in range(plan.offline_sample_count // plan.batch_size):
        serve()
    return Played(
        engine="edgeloop",
        query_count=1,
        sample_count=plan.offline_sample_count,
        duration_ns=now() - start,
    )
