"""The job: interleaved rounds, then the passes, then one run per trial, whatever happens.

Round r measures every trial that still stands, in an order shuffled by the seed, each in a fresh process:
what drifts on the device during a round drifts under all of them, and blocks of one round may be compared in
pairs.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from edgeloop_protocol.types.run import FailureKind, Outcome, Run

from edgeloop_agent.assemble import Around, assemble_run
from edgeloop_agent.blocks import measure_block
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.placing import must_be_placed
from edgeloop_agent.fitness.settle import settle
from edgeloop_agent.passes import check_parity, measure_memory, measure_nodes, place
from edgeloop_agent.runner_use import stopped
from edgeloop_agent.trial_record import TrialRecord, read_artifact

__all__ = ["execute", "round_order"]

_log = logging.getLogger(__name__)

Pass = Callable[[ExecutionContext, TrialRecord], Awaitable[None]]


async def execute(context: ExecutionContext) -> tuple[Run, ...]:
    """Run a job to its end and return one run per trial, in the order of the spec, also when stopped."""
    records = [TrialRecord(trial=trial) for trial in context.spec.trials]
    for record in records:
        read_artifact(record, context.directories)
    facts, before = await context.board.facts(), await context.board.conditions()
    preflight = await settle(context, records)
    for record in must_be_placed(records):
        await _guarded(context, record, place)
    meter = None
    if context.spec.benchmark.measure_latency:
        meter = await EnergyMeter.prepare(context.board)
        await _rounds(context, records, meter)
    await _passes(context, records)
    after = await context.board.conditions()
    around = Around(facts=facts, before=before, after=after, preflight=preflight)
    return tuple([await _assembled(context, record, meter, around) for record in records])


async def _assembled(
    context: ExecutionContext, record: TrialRecord, meter: EnergyMeter | None, around: Around
) -> Run:
    """Return the run of one trial; figures that cannot be put together are no reason to lose the others."""
    try:
        return await assemble_run(context, record, meter, around)
    except Exception as error:
        empty = TrialRecord(trial=record.trial, failure=_fault(record, error))
        return await assemble_run(context, empty, None, around)


def round_order(seed: int, round_index: int, count: int) -> list[int]:
    """Return the order of ``count`` trials in one round; the same for the same seed."""
    order = list(range(count))
    random.Random(f"{seed}/{round_index}").shuffle(order)  # noqa: S311
    return order


async def _rounds(context: ExecutionContext, records: Sequence[TrialRecord], meter: EnergyMeter) -> None:
    for round_index in range(context.spec.benchmark.rounds):
        order = round_order(context.spec.benchmark.seed, round_index, len(records))
        for position, index in enumerate(order):
            if records[index].alive:
                await _guarded(
                    context,
                    records[index],
                    partial(measure_block, meter=meter, round_index=round_index, position=position),
                )


async def _passes(context: ExecutionContext, records: Sequence[TrialRecord]) -> None:
    benchmark = context.spec.benchmark
    wanted: list[Pass] = [
        step
        for step, flag in (
            (measure_memory, benchmark.measure_memory),
            (measure_nodes, benchmark.measure_nodes),
            (check_parity, benchmark.check_parity),
        )
        if flag
    ]
    for record in records:
        for step in wanted:
            if record.alive:
                await _guarded(context, record, step)
        record.finished = True
        _tell_done(context, record)


async def _guarded(context: ExecutionContext, record: TrialRecord, step: Pass) -> None:
    """Carry out one step; its failure is the record's and nobody else's."""
    try:
        if context.stop.reason is not None:
            raise stopped(context)
        await step(context, record)
    except RunnerFailure as failure:
        record.failure = failure
    except Exception as error:
        record.failure = _fault(record, error)


def _fault(record: TrialRecord, error: Exception) -> RunnerFailure:
    """Return a fault of ours as the outcome of the one trial that met it."""
    _log.error("trial %s failed", record.trial.trial_id, exc_info=error)
    reason = f"the agent failed with {type(error).__name__}: {error}"
    return RunnerFailure(Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, reason[:1000])


def _tell_done(context: ExecutionContext, record: TrialRecord) -> None:
    how = record.failure.reason if record.failure else "measured"
    context.report(
        Progress(
            trial_id=record.trial.trial_id,
            phase="done",
            done_count=1,
            total_count=1,
            sample_count=len(record.pooled_ns),
            message=f"{record.trial.label}: {how}",
        )
    )
