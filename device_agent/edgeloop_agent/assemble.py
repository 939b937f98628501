"""Collected samples to the run that is recorded."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import statistics
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeloop_foundation.errors import BusyError, CorruptDataError
from edgeloop_foundation.statistics import quantile_interval
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.conditions import Anomaly, Conditions, Phase, Preflight
from edgeloop_protocol.types.emulation import EmulationReading
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.load import Arrivals
from edgeloop_protocol.types.measurement import Distribution, Estimate
from edgeloop_protocol.types.run import (
    Block,
    FailureKind,
    Outcome,
    Run,
    Source,
    SteadyState,
    StopReason,
    Timing,
)

from edgeloop_agent.benchmark import StopRule, steady_state
from edgeloop_agent.energy import EnergyMeter, summarise_energy
from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.fitness.anomalies import SeenBlock, SeenTrial, find_anomalies
from edgeloop_agent.power.sensor_watch import sensor_anomalies
from edgeloop_agent.samples import ThinnedSamples, to_bytes
from edgeloop_agent.trial_record import MeasuredBlock, TrialRecord

__all__ = ["Around", "assemble_run", "run_id"]

_log = logging.getLogger(__name__)

_NS = 1e-9
_CONFIDENCE = 0.95


def run_id(job_id: str, trial_id: str) -> str:
    """Return the run's identifier: the same one whenever the same trial of the same job is recorded."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{job_id}/{trial_id}"))


@dataclass(slots=True, kw_only=True)
class Around:
    """The device around a job."""

    facts: Facts
    before: Conditions
    after: Conditions
    #: Stretches that belong to no trial: idling and load pulses.
    phases: list[Phase] = field(default_factory=list)
    preflight: Preflight | None = None


async def assemble_run(
    context: ExecutionContext, record: TrialRecord, meter: EnergyMeter | None, around: Around
) -> Run:
    """Return the run of one trial, whatever is there; the raw samples go into the blob store."""
    spec, failure = context.spec, record.failure
    measured = spec.benchmark.measure_latency
    return Run(
        run_id=run_id(context.job_id, record.trial.trial_id),
        source=Source.of(context.board.simulation, around.facts.emulation),
        device_id=context.device_id,
        device_name=context.device_name,
        boot_id=context.boot_id,
        agent_version=context.agent_version,
        job_id=context.job_id,
        request_id=spec.request_id,
        lease_id=spec.lease_id,
        experiment_id=spec.experiment_id,
        trial=record.trial,
        benchmark=spec.benchmark,
        runtime_version=record.runtime_version,
        started_wall_s=context.wall_clock.wall_s()
        if record.started_wall_s is None
        else record.started_wall_s,
        duration_s=record.spent_ns * _NS,
        outcome=failure.outcome if failure else Outcome.SUCCESS,
        failure_kind=failure.failure_kind if failure else FailureKind.NONE,
        failure_reason=failure.reason if failure else "",
        log_tail=record.log_tail,
        conditions_before=around.before,
        conditions_after=around.after,
        timing=await _timing(context, record) if measured else None,
        memory=record.memory,
        energy=summarise_energy(meter, record.energy_spans) if measured and meter else None,
        placement=record.placement,
        parity=record.parity,
        isolation=record.isolation,
        simulation=record.simulation or context.board.simulation,
        emulation=around.facts.emulation,
        emulation_reading=_emulation_reading(record) if around.facts.emulation else None,
        context=spec.context,
        facts=around.facts,
        phases=tuple(sorted((*around.phases, *record.phases), key=lambda part: part.start_ns)),
        arrivals=await _arrivals(context, record),
        sustained=record.sustained,
        scenario=record.scenario,
        preflight=around.preflight,
        anomalies=(
            *_anomalies(record, spec.benchmark.series, around),
            *(sensor_anomalies(meter.trace()) if meter else ()),
        ),
    )


def _emulation_reading(record: TrialRecord) -> EmulationReading | None:
    """Return the limits that the runner read, with a sentence on what its quota did to the steady phases."""
    if (seen := record.own_limits) is None or seen.quota_s is None or seen.period_s is None:
        return record.own_limits
    watches = [block.watched.watch for block in record.blocks if block.watched]
    periods = sum(watch.quota_period_count or 0 for watch in watches)
    stops = sum(watch.quota_throttled_count or 0 for watch in watches)
    seconds = sum(watch.quota_throttled_s or 0.0 for watch in watches)
    note = "no steady phase was watched under the quota."
    if any(watch.quota_period_count is not None for watch in watches):
        note = (
            f"the quota of {seen.quota_s * 1e3:.3g} ms in {seen.period_s * 1e3:.3g} ms stopped the runner in {stops} "
            f"of {periods} periods of the steady phases, its processors for {seconds:.3g} s: single latencies fall "
            "into two groups, so read the mean."
        )
    return dataclasses.replace(seen, note=note)


def _anomalies(record: TrialRecord, series: str, around: Around) -> tuple[Anomaly, ...]:
    return find_anomalies(
        SeenTrial(
            blocks=[_seen_block(block) for block in record.blocks],
            settings=record.trial.settings,
            placement=record.placement,
            series=series,
            governors=(around.before.governor, around.after.governor),
        )
    )


def _seen_block(block: MeasuredBlock) -> SeenBlock:
    return SeenBlock(
        round=block.round,
        watched=block.watched,
        p50_s=statistics.median(block.samples_ns) * _NS if block.samples_ns else None,
        first_inference_s=_seconds(block.first_inference_ns),
        warmup_slowest_s=_seconds(max(block.warmup_ns[1:], default=None)),
    )


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds * _NS


def _distribution(streams: Sequence[ThinnedSamples]) -> Distribution:
    """Summarise streams; the extremes are those of all samples, also of those that were thinned out."""
    found = distribution([ns * _NS for stream in streams for ns in stream.kept], "s")
    low = [stream.minimum for stream in streams if stream.minimum is not None]
    high = [stream.maximum for stream in streams if stream.maximum is not None]
    return dataclasses.replace(
        found,
        minimum=min(found.minimum, min(low) * _NS),
        maximum=max(found.maximum, max(high) * _NS),
    )


def _even_out(streams: Sequence[ThinnedSamples]) -> None:
    """Thin all out alike, so that each inference weighs the same in what is pooled."""
    stride = max((stream.stride for stream in streams), default=1)
    for stream in streams:
        stream.thin_to(stride)


async def _arrivals(context: ExecutionContext, record: TrialRecord) -> Arrivals | None:
    """Return what became of scheduled requests over all blocks; None in a closed loop or without any answer."""
    served = [(block, block.requests) for block in record.blocks if block.requests is not None]
    if not served:
        return None
    latencies = [requests.latencies for _, requests in served]
    _even_out(latencies)
    answered = sum(stream.count for stream in latencies)
    seconds = sum(requests.duration_ns for _, requests in served) * _NS
    kept, _ = await _keep(context, array("q", [ns for stream in latencies for ns in stream.kept]))
    return Arrivals(
        process=context.spec.benchmark.arrival,
        offered_rate_hz=context.spec.benchmark.rate_hz,
        achieved_rate_hz=answered / seconds,
        answered_count=answered,
        dropped_count=sum(requests.dropped_count for _, requests in served),
        queue_count_peak=max(requests.queue_count_peak for _, requests in served),
        duty_cycle=min(1.0, sum(requests.busy_ns for _, requests in served) * _NS / seconds),
        latency=await asyncio.to_thread(_distribution, latencies),
        service=await asyncio.to_thread(_distribution, [block.samples for block, _ in served]),
        samples_digest=kept,
    )


async def _timing(context: ExecutionContext, record: TrialRecord) -> Timing:
    streams = [block.samples for block in record.blocks]
    _even_out(streams)
    samples = record.pooled_ns
    rule = StopRule(context.spec.benchmark)
    missing = record.failure.reason if record.failure else "nothing was measured"
    # In a thread: a hundred thousand samples take a while, and the agent answers meanwhile.
    narrow = await asyncio.to_thread(rule.narrow, samples, context.spec.benchmark.rounds, record.sample_count)
    settled = await asyncio.to_thread(steady_state, [b.samples_ns for b in record.blocks])
    steady = await asyncio.to_thread(_distribution, streams) if samples else None
    kept, why_not = await _keep(context, samples) if samples else ("", missing)
    return Timing(
        cold_load_s=_cold_load(record.blocks, missing),
        warm_load_s=_warm_load(record.blocks, missing),
        first_inference_s=_median(
            [b.first_inference_ns for b in record.blocks if b.first_inference_ns is not None], missing
        ),
        steady=steady,
        reason=why_not,
        steady_state=settled if samples else SteadyState.NOT_ASSESSED,
        stop_reason=_stop_reason(bool(samples), narrow),
        blocks=_blocks(record.blocks),
        samples_digest=kept,
        clock_disagreement=record.clock_check.worst,
        timing_disputed=record.clock_check.disputed,
    )


async def _keep(context: ExecutionContext, samples: array[int]) -> tuple[str, str]:
    """Return the digest of the kept samples, or none and the reason: their summary stands without them."""
    try:
        return await context.store_blob(to_bytes(samples)), ""
    except (BusyError, CorruptDataError, OSError) as error:
        _log.error("raw samples are lost: %s", error)
        return "", f"the raw samples could not be kept: {error}"


def _stop_reason(measured: bool, narrow: bool) -> StopReason:
    if not measured:
        return StopReason.NOT_MEASURED
    return StopReason.INTERVAL_NARROW if narrow else StopReason.BUDGET_SPENT


def _cold_load(blocks: Sequence[MeasuredBlock], missing: str) -> Estimate:
    first = next((block for block in blocks if block.round == 0), None)
    if first is None or first.load_ns is None:
        return Estimate.absent(missing)
    if not first.cold:
        return Estimate.absent("the model's pages could not be pushed out of the page cache")
    return Estimate(value=first.load_ns * _NS, sample_count=1)


def _warm_load(blocks: Sequence[MeasuredBlock], missing: str) -> Estimate:
    loads = [block.load_ns for block in blocks if block.round > 0 and block.load_ns is not None]
    return _median(loads, "a warm load needs a second round" if blocks else missing)


def _median(values_ns: Sequence[int], missing: str) -> Estimate:
    if not values_ns:
        return Estimate.absent(missing)
    ordered = sorted(value * _NS for value in values_ns)
    middle = statistics.median(ordered)
    interval = quantile_interval(ordered, 0.5, _CONFIDENCE)
    if interval is None:
        return Estimate(value=middle, sample_count=len(ordered))
    low, high = interval
    return Estimate(value=middle, low=low, high=high, confidence=_CONFIDENCE, sample_count=len(ordered))


def _blocks(blocks: Sequence[MeasuredBlock]) -> tuple[Block, ...]:
    found = []
    offset = 0
    for block in blocks:
        count = len(block.samples_ns)
        found.append(
            Block(
                round=block.round,
                position=block.position,
                sample_offset=offset,
                sample_count=count,
                p50_s=statistics.median(block.samples_ns) * _NS if count else None,
                warmup_count=block.warmup_count,
                load_s=None if block.load_ns is None else block.load_ns * _NS,
                first_inference_s=None
                if block.first_inference_ns is None
                else block.first_inference_ns * _NS,
                cold=block.cold,
                inference_count=block.samples.count,
                watch=block.watched.watch if block.watched else None,
            )
        )
        offset += count
    return tuple(found)
