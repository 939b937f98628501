"""One block: one fresh process of one trial, from load over first inference and warm-up to steady batches."""

from __future__ import annotations

import sys
from array import array
from typing import Any

from edgeloop_protocol.types.run import FailureKind, Outcome

from edgeloop_agent.benchmark import StopRule, WarmUp
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.watch import Watcher
from edgeloop_agent.runner_use import RunnerUse, use_runner
from edgeloop_agent.trial_record import MeasuredBlock, TrialRecord

__all__ = ["measure_block"]

_SAMPLE_BYTES = 8


async def measure_block(
    context: ExecutionContext, record: TrialRecord, meter: EnergyMeter, round_index: int, position: int
) -> None:
    """Measure one block and add it to the record, as far as it came.

    Raises:
        RunnerFailure: the block ended early.
    """
    block = MeasuredBlock(round=round_index, position=position)
    _tell(context, record, block, "load")
    async with use_runner(context, record, "latency", round_index=round_index, cold=round_index == 0) as (
        use,
        opened,
    ):
        block.load_ns = _integer(opened, "load_ns")
        block.cold = opened.get("cold") is True
        record.blocks.append(block)
        try:
            inference_ns = await _warm_up(context, record, use, block)
            await _steady(context, record, use, block, meter, inference_ns)
        finally:
            record.clock_check.end_process()
    _tell(context, record, block, "steady", finished=1)


async def _warm_up(
    context: ExecutionContext, record: TrialRecord, use: RunnerUse, block: MeasuredBlock
) -> float:
    """Run until warm and return the latest typical inference in nanoseconds."""
    warm_up = WarmUp(context.spec.benchmark)
    first = await _infer(record, use, 1)
    block.first_inference_ns = first[0]
    warm_up.observe(first)
    _tell(context, record, block, "warm-up")
    while not warm_up.done:
        samples = await _infer(record, use, warm_up.next_count())
        warm_up.observe(samples)
        block.warmup_slowest_ns = max(block.warmup_slowest_ns or 0, *samples)
        block.warmup_count = warm_up.count
    block.warmup_count = warm_up.count
    return warm_up.inference_ns


async def _steady(
    context: ExecutionContext,
    record: TrialRecord,
    use: RunnerUse,
    block: MeasuredBlock,
    meter: EnergyMeter,
    inference_ns: float,
) -> None:
    rule = StopRule(context.spec.benchmark)
    elapsed_ns = batches = 0
    _tell(context, record, block, "steady")
    watcher = Watcher(context.board, use.pid)
    await watcher.begin()
    await meter.begin()
    while not rule.block_done(record.pooled_ns, elapsed_ns, batches, block.round + 1):
        samples = await _infer(record, use, rule.next_count(inference_ns, elapsed_ns))
        block.samples_ns.extend(samples)
        record.pooled_ns.extend(samples)
        elapsed_ns += sum(samples)
        batches += 1
        inference_ns = elapsed_ns / len(block.samples_ns)
        await meter.between_batches()
        await watcher.between_batches()
    if span := await meter.end(len(block.samples_ns)):
        record.energy_spans.append(span)
    block.watched = await watcher.end()


async def _infer(record: TrialRecord, use: RunnerUse, count: int) -> array[int]:
    """Run one batch, check the answer and hold its clock against ours."""
    timed = await use.request("infer", {"count": count})
    samples = array("q", timed.reply.payload[: count * _SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    header = timed.reply.header
    span_ns = _integer(header, "end_ns") - _integer(header, "start_ns")
    whole = len(timed.reply.payload) == count * _SAMPLE_BYTES
    if not whole or min(samples) < 0 or sum(samples) > span_ns:
        raise RunnerFailure(
            Outcome.HARNESS_ERROR,
            FailureKind.RUNNER_CRASHED,
            f"the runner answered {count} inferences with {len(timed.reply.payload)} bytes of samples that "
            f"do not fit into the {span_ns} ns it says they took.",
        )
    record.clock_check.add(span_ns, timed.elapsed_ns)
    return samples


def _integer(header: dict[str, Any], name: str) -> int:
    value = header.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RunnerFailure(
        Outcome.HARNESS_ERROR,
        FailureKind.RUNNER_CRASHED,
        f"the runner's answer has {name}={value!r}, no integer.",
    )


def _tell(
    context: ExecutionContext, record: TrialRecord, block: MeasuredBlock, phase: str, finished: int = 0
) -> None:
    rounds = context.spec.benchmark.rounds
    context.report(
        Progress(
            trial_id=record.trial.trial_id,
            phase=phase,
            done_count=block.round + finished,
            total_count=rounds,
            sample_count=len(record.pooled_ns),
            message=f"{record.trial.label}: {phase}, round {block.round + 1} of {rounds}",
        )
    )
