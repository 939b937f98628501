"""The job: idling, interleaved rounds, idling, then the passes, then one run per trial, whatever happens.

Round r measures every trial that still stands, in an order shuffled by the seed, each in a fresh process:
what drifts on the device during a round drifts under all of them, and blocks of one round may be compared in
pairs. Interleaved by block the processes run one after the other, by batch they take turns within the round.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from functools import partial

from edgeloop_protocol.types.run import Run

from edgeloop_agent.assemble import Around, assemble_run
from edgeloop_agent.blocks import measure_block
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.placing import must_be_placed
from edgeloop_agent.fitness.settle import settle
from edgeloop_agent.guard import Step, fault, guarded
from edgeloop_agent.idle import idle, pulse_load
from edgeloop_agent.passes import check_parity, measure_memory, measure_nodes, place
from edgeloop_agent.scenario import measure_scenario
from edgeloop_agent.sustained import measure_sustained
from edgeloop_agent.trial_record import TrialRecord, read_artifact
from edgeloop_agent.turns import measure_turns, refuse_crowd

__all__ = ["execute", "round_order"]


async def execute(context: ExecutionContext) -> tuple[Run, ...]:
    """Run a job to its end and return one run per trial, in the order of the spec, also when stopped."""
    records = [TrialRecord(trial=trial) for trial in context.spec.trials]
    for record in records:
        read_artifact(record, context.directories)
        record.failure = record.failure or context.refusal(record.trial.artifact_digest)
    await context.board.keep_spare()
    facts, before = await context.board.facts(), await context.board.conditions()
    preflight = await settle(context, records)
    for record in must_be_placed(records):
        await guarded(context, record, place)
    around = Around(facts=facts, before=before, after=before, preflight=preflight)
    meter = None
    if context.spec.benchmark.measure_latency or context.spec.benchmark.sustained_s:
        meter = await EnergyMeter.prepare(context.board)
    if meter is not None and context.spec.benchmark.measure_latency:
        await _measure_latency(context, records, meter, around)
    await _passes(context, records, meter)
    around.after = await context.board.conditions()
    return tuple([await _assembled(context, record, meter, around) for record in records])


async def _assembled(
    context: ExecutionContext, record: TrialRecord, meter: EnergyMeter | None, around: Around
) -> Run:
    """Return the run of one trial; figures that cannot be put together are no reason to lose the others."""
    try:
        return await assemble_run(context, record, meter, around)
    except Exception as error:
        empty = TrialRecord(trial=record.trial, failure=fault(record, error))
        return await assemble_run(context, empty, None, around)


def round_order(seed: int, round_index: int, count: int) -> list[int]:
    """Return the order of ``count`` trials in one round; the same for the same seed."""
    order = list(range(count))
    random.Random(f"{seed}/{round_index}").shuffle(order)  # noqa: S311
    return order


async def _measure_latency(
    context: ExecutionContext, records: Sequence[TrialRecord], meter: EnergyMeter, around: Around
) -> None:
    if context.spec.benchmark.interleave == "batch":
        refuse_crowd(context, records, around.before)
    # The meter takes the last idling before the first inference as its baseline, and that after the last one.
    await _idle(context, meter, around, "idle_before")
    if context.spec.benchmark.load_pulse:
        await _pulse(context, records, around)
    for round_index in range(context.spec.benchmark.rounds):
        await _round(context, records, meter, round_index)
    await _idle(context, meter, around, "idle_after")


async def _idle(context: ExecutionContext, meter: EnergyMeter, around: Around, name: str) -> None:
    if not context.spec.benchmark.idle_s or context.stop.reason is not None:
        return
    # When the job is to stop, every trial that is still to come says so itself.
    with contextlib.suppress(RunnerFailure):
        await idle(context, around.phases, meter, name)


async def _pulse(context: ExecutionContext, records: Sequence[TrialRecord], around: Around) -> None:
    """Pulse with the first model that runs."""
    for record in records:
        if record.alive and context.stop.reason is None:
            await guarded(context, record, partial(pulse_load, phases=around.phases))
            if record.alive:
                return


async def _round(
    context: ExecutionContext, records: Sequence[TrialRecord], meter: EnergyMeter, round_index: int
) -> None:
    order = [records[index] for index in round_order(context.spec.benchmark.seed, round_index, len(records))]
    if context.spec.benchmark.interleave == "batch":
        await measure_turns(context, [record for record in order if record.alive], meter, round_index)
        return
    for position, record in enumerate(order):
        if record.alive:
            await guarded(
                context,
                record,
                partial(measure_block, meter=meter, round_index=round_index, position=position),
            )


async def _passes(
    context: ExecutionContext, records: Sequence[TrialRecord], meter: EnergyMeter | None
) -> None:
    benchmark = context.spec.benchmark
    wanted: list[Step] = [
        step
        for step, flag in (
            (measure_memory, benchmark.measure_memory),
            (measure_nodes, benchmark.measure_nodes),
            (check_parity, benchmark.check_parity),
            (measure_scenario, bool(benchmark.scenario)),
        )
        if flag
    ]
    if meter is not None and benchmark.sustained_s:
        wanted.append(partial(measure_sustained, meter=meter))
    for record in records:
        for step in wanted:
            if record.alive:
                await guarded(context, record, step)
        record.finished = True
        _tell_done(context, record)


def _tell_done(context: ExecutionContext, record: TrialRecord) -> None:
    how = record.failure.reason if record.failure else "measured"
    context.report(
        Progress(
            trial_id=record.trial.trial_id,
            phase="done",
            done_count=1,
            total_count=1,
            sample_count=record.sample_count,
            message=f"{record.trial.label}: {how}",
        )
    )
