"""An MLPerf scenario in a process of its own, and what of its rules was not met."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

from edgeloop_foundation.statistics import early_stopping_fast_count_min
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.load import ScenarioResult
from edgeloop_protocol.types.measurement import Distribution, Estimate
from edgeloop_protocol.types.trial import Benchmark

from edgeloop_agent.answers import integer, nonsense
from edgeloop_agent.blocks import new_block, warm_up
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.phases import phase
from edgeloop_agent.runner_process import Reply
from edgeloop_agent.runner_use import use_runner
from edgeloop_agent.samples import SAMPLE_BYTES, from_bytes
from edgeloop_agent.scenarios import PERCENTILES, QUERY_FLOORS, Plan
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["measure_scenario", "read_result"]

_NS = 1e-9
_DURATION_S_MIN = 600.0
"""Least duration of an MLPerf run."""

_OFFLINE_SAMPLES_MIN = 24_576
_UNOFFICIAL = "unofficial: not verified by MLCommons"


async def measure_scenario(context: ExecutionContext, record: TrialRecord) -> None:
    """Play the scenario and take its result in.

    Raises:
        RunnerFailure: an inference failed, or the answer does not fit together.
    """
    benchmark = context.spec.benchmark
    what = f"{record.trial.label}: MLPerf scenario {benchmark.scenario}"
    context.report(Progress(trial_id=record.trial.trial_id, phase="scenario", message=what))
    async with use_runner(context, record, "scenario") as (use, _):
        inference_ns = await warm_up(context, record, use, new_block(context, -1, 0))
        record.clock_check.end_process()
        plan = Plan(
            scenario=benchmark.scenario,
            duration_s_min=benchmark.scenario_s_min,
            batch_size=benchmark.batch_size,
            rate_hz=benchmark.rate_hz,
            latency_bound_s=benchmark.latency_bound_s,
            seed=random.Random(f"{benchmark.seed}/scenario").getrandbits(31),  # noqa: S311
            inference_s=inference_ns * _NS,
        )
        with phase(context.board.clock, record.phases, "scenario"):
            timed = await use.request("scenario", {"plan": dataclasses.asdict(plan)})
    record.scenario = read_result(benchmark, timed.reply)


def read_result(benchmark: Benchmark, reply: Reply) -> ScenarioResult:
    """Return what a runner's answer says, held against the rules.

    Raises:
        RunnerFailure: the answer does not fit together.
    """
    header = reply.header
    queries, samples = integer(header, "query_count"), integer(header, "sample_count")
    duration_s = integer(header, "duration_ns") * _NS
    latencies = from_bytes(reply.payload)
    percentile = PERCENTILES.get(benchmark.scenario)
    timed = bool(latencies) == (percentile is not None) and len(latencies) <= max(queries, 1)
    if not timed or len(reply.payload) % SAMPLE_BYTES or min(queries, samples) < 1 or duration_s <= 0.0:
        raise nonsense(
            f"the runner answered the scenario with {queries} queries, {samples} samples and "
            f"{len(latencies)} latencies in {duration_s:g} s, which do not fit together."
        )
    early = header.get("early_stopping_ns")
    result = ScenarioResult(
        scenario=benchmark.scenario,
        engine=str(header.get("engine", ""))[:100],
        valid=False,
        query_count=queries,
        sample_count=samples,
        duration_s=duration_s,
        throughput_hz=samples / duration_s,
        latency=_latency(reply) if percentile else None,
        early_stopping_s=_early_stopping(benchmark.scenario, early, queries) if percentile else None,
    )
    unmet = list(_unmet(benchmark, result, header.get("slow_count"), str(header.get("complaint", ""))))
    reason = "; ".join((_UNOFFICIAL, *unmet, *_remarks(benchmark)))
    return dataclasses.replace(result, valid=not unmet, reason=reason[:1000])


def _latency(reply: Reply) -> Distribution:
    found = distribution([ns * _NS for ns in from_bytes(reply.payload)], "s")
    # The extremes are those of all queries, also of those that were thinned out.
    return dataclasses.replace(
        found,
        minimum=min(found.minimum, integer(reply.header, "minimum_ns") * _NS),
        maximum=max(found.maximum, integer(reply.header, "maximum_ns") * _NS),
    )


def _early_stopping(scenario: str, estimate: object, queries: int) -> Estimate:
    if isinstance(estimate, int) and estimate > 0:
        return Estimate(value=estimate * _NS, sample_count=queries)
    floor = QUERY_FLOORS[scenario]
    return Estimate.absent(
        f"early stopping of p{PERCENTILES[scenario] * 100:.0f} needs {floor} queries, {queries} were answered",
        queries,
    )


def _unmet(benchmark: Benchmark, result: ScenarioResult, slow: object, complaint: str) -> Iterator[str]:
    """Yield each rule of the scenario that this run does not meet."""
    if complaint:
        yield complaint
    if result.duration_s < _DURATION_S_MIN or benchmark.scenario_s_min < _DURATION_S_MIN:
        yield f"{result.duration_s:.3g} s of at least {_DURATION_S_MIN:.0f} s"
    if result.scenario == "offline":
        if result.sample_count < _OFFLINE_SAMPLES_MIN:
            yield f"{result.sample_count} of at least {_OFFLINE_SAMPLES_MIN} samples"
        return
    if result.early_stopping_s is not None and result.early_stopping_s.value is None:
        yield result.early_stopping_s.reason
    if result.scenario == "server" and isinstance(slow, int):
        needed = early_stopping_fast_count_min(slow, PERCENTILES["server"])
        if result.query_count - slow < needed:
            yield (
                f"{slow} of {result.query_count} queries took longer than {benchmark.latency_bound_s:g} s; "
                f"with so many slow ones early stopping needs {needed} fast ones"
            )


def _remarks(benchmark: Benchmark) -> Iterator[str]:
    if benchmark.scenario == "single_stream" and benchmark.batch_size > 1:
        yield f"one sample a query was answered by an inference of {benchmark.batch_size} items"
