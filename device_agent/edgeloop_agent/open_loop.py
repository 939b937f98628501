"""The steady phase of a block under scheduled arrivals: the runner keeps the schedule, so that timing is local."""

from __future__ import annotations

import math
import random

from edgeloop_protocol.types.trial import Benchmark

from edgeloop_agent.answers import integer, nonsense
from edgeloop_agent.benchmark import NS_PER_S, OVERRUN_MAX, StopRule
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.runner_use import RunnerUse, TimedReply
from edgeloop_agent.samples import SAMPLE_BYTES, from_bytes
from edgeloop_agent.trial_record import MeasuredBlock, RequestCounts, TrialRecord

__all__ = ["request_count", "serve_requests"]


def request_count(benchmark: Benchmark) -> int:
    """Return how many requests one block gets: what fills its budget, or its share of the least count.

    A rate at which the least count takes longer gets up to four budgets, as a slow model does.
    """
    budget_s = StopRule(benchmark).block_budget_s
    filled = math.ceil(budget_s * benchmark.rate_hz)
    share = math.ceil(benchmark.sample_count_min / benchmark.rounds)
    return max(1, filled, min(share, math.floor(OVERRUN_MAX * budget_s * benchmark.rate_hz)))


async def serve_requests(
    context: ExecutionContext, record: TrialRecord, use: RunnerUse, block: MeasuredBlock, meter: EnergyMeter
) -> None:
    """Let the runner answer one schedule and add what became of it to the block.

    Raises:
        RunnerFailure: an inference failed, or the answer does not fit together.
    """
    benchmark = context.spec.benchmark
    count = request_count(benchmark)
    # Another schedule for each round, and the same ones for every trial.
    seed = random.Random(f"{benchmark.seed}/arrivals/{block.round}").getrandbits(31)  # noqa: S311
    await meter.begin()
    timed = await use.request(
        "serve",
        {
            "count": count,
            "process": benchmark.arrival,
            "rate_hz": benchmark.rate_hz,
            "queue_count_max": benchmark.queue_count_max,
            "seed": seed,
        },
    )
    _take_in(record, block, timed, count, round(count / benchmark.rate_hz * NS_PER_S))
    if span := await meter.end(block.samples.count):
        record.energy_spans.append(span)


def _take_in(
    record: TrialRecord, block: MeasuredBlock, timed: TimedReply, count: int, scheduled_ns: int
) -> None:
    header, payload = timed.reply.header, timed.reply.payload
    answered, dropped = integer(header, "answered_count"), integer(header, "dropped_count")
    span_ns = integer(header, "end_ns") - integer(header, "start_ns")
    half = answered * SAMPLE_BYTES
    service, latency = from_bytes(payload[:half]), from_bytes(payload[half:])
    whole = len(payload) == 2 * half and answered > 0 and answered + dropped == count
    if not whole or min(service) < 0 or sum(service) > span_ns or max(latency) > span_ns:
        raise nonsense(
            f"the runner answered {count} requests with {answered} answers, {dropped} dropped and "
            f"{len(payload)} bytes of times that do not fit into the {span_ns} ns it says they took."
        )
    record.clock_check.add(span_ns, timed.elapsed_ns)
    block.samples.extend(service)
    latencies = block.samples.twin()
    latencies.extend(latency)
    block.requests = RequestCounts(
        latencies=latencies,
        dropped_count=dropped,
        queue_count_peak=integer(header, "queue_count_peak"),
        scheduled_ns=scheduled_ns,
        duration_ns=span_ns,
        busy_ns=sum(service),
    )
