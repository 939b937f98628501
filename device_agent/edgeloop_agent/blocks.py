"""One block: one fresh process of one trial, from load over first inference and warm-up to steady batches."""

from __future__ import annotations

from typing import Any

from edgeloop_agent.answers import infer, integer
from edgeloop_agent.benchmark import StopRule, WarmUp
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.fitness.watch import Watcher
from edgeloop_agent.open_loop import serve_requests
from edgeloop_agent.phases import phase
from edgeloop_agent.runner_use import RunnerUse, making_spare, use_runner
from edgeloop_agent.samples import KEPT_COUNT_MAX, ThinnedSamples
from edgeloop_agent.trial_record import MeasuredBlock, TrialRecord

__all__ = ["measure_block", "new_block", "note_opened", "tell", "warm_up"]


async def measure_block(
    context: ExecutionContext, record: TrialRecord, meter: EnergyMeter, round_index: int, position: int
) -> None:
    """Measure one block and add it to the record, as far as it came.

    Raises:
        RunnerFailure: the block ended early.
    """
    block = new_block(context, round_index, position)
    tell(context, record, block, "load")
    async with use_runner(context, record, "latency", round_index=round_index, cold=round_index == 0) as (
        use,
        opened,
    ):
        note_opened(record, block, opened)
        try:
            inference_ns = await warm_up(context, record, use, block)
            tell(context, record, block, "steady")
            with phase(context.board.clock, record.phases, "steady", round_index):
                if context.spec.benchmark.arrival == "closed":
                    await _steady(context, record, use, block, meter, inference_ns)
                else:
                    await serve_requests(context, record, use, block, meter)
        finally:
            record.clock_check.end_process()
    tell(context, record, block, "steady", finished=1)


def new_block(context: ExecutionContext, round_index: int, position: int) -> MeasuredBlock:
    """Return an empty block that keeps its share of what is kept of a trial."""
    share = KEPT_COUNT_MAX // context.spec.benchmark.rounds
    return MeasuredBlock(round=round_index, position=position, samples=ThinnedSamples(share))


def note_opened(record: TrialRecord, block: MeasuredBlock, opened: dict[str, Any]) -> None:
    """Take in the answer to ``open`` and make the block one of the record's.

    Raises:
        RunnerFailure: it is no answer to ``open``.
    """
    block.load_ns = integer(opened, "load_ns")
    block.cold = opened.get("cold") is True
    record.blocks.append(block)


async def warm_up(
    context: ExecutionContext, record: TrialRecord, use: RunnerUse, block: MeasuredBlock
) -> float:
    """Run until warm and return the latest typical inference in nanoseconds.

    Raises:
        RunnerFailure: an inference failed.
    """
    state = WarmUp(context.spec.benchmark, record.trial.settings.warmup_count_min)
    clock = context.board.clock
    with phase(clock, record.phases, "first_inference", block.round):
        first = await infer(record, use, 1)
    state.observe(first)
    block.first_inference_ns = first[0]
    block.note_warm_up(first)
    tell(context, record, block, "warm-up")
    with phase(clock, record.phases, "warm_up", block.round):
        async with making_spare(context.board):
            while not state.done:
                samples = await infer(record, use, state.next_count())
                state.observe(samples)
                block.note_warm_up(samples)
    return state.inference_ns


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
    watcher = Watcher(context.board, use.pid)
    await watcher.begin()
    await meter.begin()
    while not rule.block_done(record.pooled_ns, elapsed_ns, batches, block.round + 1, record.sample_count):
        count = rule.next_count(inference_ns, elapsed_ns, record.clock_check.way_s)
        samples = await infer(record, use, count)
        block.samples.extend(samples)
        elapsed_ns += sum(samples)
        batches += 1
        inference_ns = elapsed_ns / block.samples.count
        await meter.between_batches()
        await watcher.between_batches()
    if span := await meter.end(block.samples.count):
        record.energy_spans.append(span)
    block.watched = await watcher.end()


def tell(
    context: ExecutionContext, record: TrialRecord, block: MeasuredBlock, phase_name: str, finished: int = 0
) -> None:
    """Report how far a trial is."""
    rounds = context.spec.benchmark.rounds
    context.report(
        Progress(
            trial_id=record.trial.trial_id,
            phase=phase_name,
            done_count=block.round + finished,
            total_count=rounds,
            sample_count=record.sample_count,
            message=f"{record.trial.label}: {phase_name}, round {block.round + 1} of {rounds}",
        )
    )
