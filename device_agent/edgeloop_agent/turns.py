"""A round of interleaved batches: all its processes live side by side and take turns in mirrored order.

A and B take turns as A B, B A, A B, B A: whatever drifts within the round, evenly or not, drifts under both. Only
one process runs at a time; the others wait for a command and use no processor.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.run import FailureKind, Outcome
from edgeloop_protocol.types.trial import Benchmark

from edgeloop_agent.answers import infer
from edgeloop_agent.benchmark import NS_PER_S, OVERRUN_MAX, StopRule, batch_count
from edgeloop_agent.blocks import new_block, note_opened, tell, warm_up
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.guard import guarded
from edgeloop_agent.phases import phase
from edgeloop_agent.runner_use import RunnerUse
from edgeloop_agent.trial_record import MeasuredBlock, TrialRecord

__all__ = ["expected_bytes", "measure_turns", "refuse_crowd", "turn_count"]

_PROCESS_BYTES = 96 << 20
# Weights once in the file's pages, once in the runtime, once more while it rearranges them.
_WEIGHT_COPIES = 3
_ACTIVATION_COPIES = 2
_REWARM_COUNT_MIN = 4


@dataclass(slots=True)
class _Seat:
    """One trial of the round with its living process."""

    record: TrialRecord
    block: MeasuredBlock
    use: RunnerUse
    inference_ns: float = 0.0
    elapsed_ns: int = 0
    turns: int = 0


def turn_count(benchmark: Benchmark) -> int:
    """Return into how many turns a trial's share of a round is cut: even, so that every turn has its mirror."""
    share_s = benchmark.steady_s_max / benchmark.rounds
    return max(2, 2 * round(share_s / max(benchmark.batch_s, 1e-3) / 2.0))


def expected_bytes(artifact: Artifact, batch_size: int) -> int:
    """Return the memory that one living process is expected to take; generous."""
    activations = _ACTIVATION_COPIES * batch_size * artifact.activation_peak_bytes
    return _PROCESS_BYTES + _WEIGHT_COPIES * artifact.model_size_bytes + activations


def refuse_crowd(context: ExecutionContext, records: Sequence[TrialRecord], before: Conditions) -> None:
    """Fail every trial when the board has not the memory for all of them at once.

    Where the board does not tell its available memory there is nothing to hold the need against.
    """
    available = before.available_memory_bytes
    living = [record for record in records if record.alive]
    needed = sum(expected_bytes(record.opened()[1], context.spec.benchmark.batch_size) for record in living)
    if available is None or needed <= available:
        return
    reason = (
        f"interleave 'batch' keeps {len(living)} processes alive at once, which are expected to take "
        f"{needed} bytes; {available} are available here: use interleave 'block', which runs one at a time."
    )
    for record in living:
        record.failure = RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY, reason)


async def measure_turns(
    context: ExecutionContext, records: Sequence[TrialRecord], meter: EnergyMeter, round_index: int
) -> None:
    """Measure one round of these trials, given in the round's order; a failing one leaves, the others go on."""
    seats: list[_Seat] = []
    try:
        await asyncio.gather(
            *(
                guarded(context, record, partial(_sit_down, seats=seats, position=(round_index, position)))
                for position, record in enumerate(records)
            )
        )
        seats.sort(key=lambda seat: seat.block.position)
        for seat in seats:
            await guarded(context, seat.record, partial(_make_ready, seat=seat))
        await _rotate(context, seats, meter)
    finally:
        await asyncio.gather(*(seat.use.close() for seat in seats))
    for seat in seats:
        seat.record.clock_check.end_process()
        if seat.record.alive:
            tell(context, seat.record, seat.block, "steady", finished=1)


async def _sit_down(
    context: ExecutionContext, record: TrialRecord, *, seats: list[_Seat], position: tuple[int, int]
) -> None:
    """Start a process and let it import; all of a round at once, because none of it is measured."""
    round_index, place = position
    use = await RunnerUse.begin(context, record, "latency", round_index=round_index, cold=round_index == 0)
    seat = _Seat(record, new_block(context, round_index, place), use)
    seats.append(seat)
    async with _logged(seat):
        await use.prepare()


async def _make_ready(context: ExecutionContext, record: TrialRecord, *, seat: _Seat) -> None:
    """Load and warm up; one process after the other, because these times are measured."""
    if record.failure is not None:
        raise record.failure
    tell(context, record, seat.block, "load")
    async with _logged(seat):
        note_opened(record, seat.block, await seat.use.open(seat.block.round))
        seat.inference_ns = await warm_up(context, record, seat.use, seat.block)
    tell(context, record, seat.block, "steady")


async def _rotate(context: ExecutionContext, seats: Sequence[_Seat], meter: EnergyMeter) -> None:
    forward = True
    while waiting := [seat for seat in seats if seat.record.alive and not _is_done(context, seat)]:
        for seat in waiting if forward else reversed(waiting):
            await guarded(context, seat.record, partial(_take_turn, seat=seat, meter=meter))
        forward = not forward


def _is_done(context: ExecutionContext, seat: _Seat) -> bool:
    """Whether a trial has its share of the round: its turns, or its time when one inference is longer than a turn."""
    benchmark, rule = context.spec.benchmark, StopRule(context.spec.benchmark)
    budget_ns = rule.block_budget_s * NS_PER_S
    if (
        seat.turns % 2
        or (seat.turns < turn_count(benchmark) and seat.elapsed_ns < budget_ns)
        or not seat.turns
    ):
        return False
    enough = seat.record.sample_count >= rule.wanted(seat.block.round + 1)
    return enough or seat.elapsed_ns >= OVERRUN_MAX * budget_ns


async def _take_turn(
    context: ExecutionContext, record: TrialRecord, *, seat: _Seat, meter: EnergyMeter
) -> None:
    """Run one batch; its first inference finds other models' data in the caches and still warms up."""
    benchmark = context.spec.benchmark
    turn_s = benchmark.steady_s_max / benchmark.rounds / turn_count(benchmark)
    count = batch_count(turn_s, seat.inference_ns)
    again = 1 if count >= _REWARM_COUNT_MIN else 0
    await meter.begin()
    async with _logged(seat):
        with phase(context.board.clock, record.phases, "steady", seat.block.round):
            samples = await infer(record, seat.use, count + again)
    if span := await meter.end(len(samples)):
        record.energy_spans.append(span)
    seat.block.note_warm_up(samples[:again])
    steady = samples[again:]
    seat.block.samples.extend(steady)
    seat.elapsed_ns += sum(steady)
    seat.inference_ns = sum(steady) / len(steady)
    seat.turns += 1


@contextlib.asynccontextmanager
async def _logged(seat: _Seat) -> AsyncIterator[None]:
    """Keep what the process wrote last, should this fail."""
    try:
        yield
    except RunnerFailure:
        seat.use.note_log()
        raise
