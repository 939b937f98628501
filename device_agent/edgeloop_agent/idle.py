"""What a job does while no model is measured: idling for the baseline, and pulses for meters to be aligned by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgeloop_protocol.types.conditions import Phase

from edgeloop_agent.answers import infer
from edgeloop_agent.benchmark import batch_count
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.phases import phase
from edgeloop_agent.runner_use import stopped, use_runner
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["PULSES", "idle", "pause", "pulse_load"]

PULSES = ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0))
"""Seconds of load and of idling after it; uneven, so that the pattern fits itself at one place only."""

_READINGS_PER_S = 10.0
_PULSE_BATCH_S = 0.1
_NS = 1e-9


async def pause(context: ExecutionContext, seconds: float) -> None:
    """Let job time pass.

    Raises:
        RunnerFailure: the job is to stop.
    """
    sleeping = asyncio.ensure_future(context.board.clock.sleep(seconds))
    stopping = asyncio.ensure_future(context.stop.wait())
    try:
        await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sleeping, stopping):
            task.cancel()
        await asyncio.gather(sleeping, stopping, return_exceptions=True)
    if context.stop.reason is not None:
        raise stopped(context)


async def idle(context: ExecutionContext, phases: list[Phase], meter: EnergyMeter, name: str) -> None:
    """Idle for as long as the benchmark asks while the meter reads: it takes its baseline from that.

    Raises:
        RunnerFailure: the job is to stop.
    """
    seconds = context.spec.benchmark.idle_s
    context.report(Progress(phase=name, message=f"idling for {seconds:g} s"))
    with phase(context.board.clock, phases, name):
        await meter.begin()
        readings = max(1, round(seconds * _READINGS_PER_S))
        for _ in range(readings):
            await pause(context, seconds / readings)
            await meter.between_batches()
        await meter.end(0)


async def pulse_load(
    context: ExecutionContext,
    record: TrialRecord,
    phases: list[Phase],
    pulses: Sequence[tuple[float, float]] = PULSES,
) -> None:
    """Load the board with one trial's model and let it idle, by a fixed pattern; every load is a phase.

    Raises:
        RunnerFailure: the model cannot be run.
    """
    clock = context.board.clock
    context.report(Progress(phase="load_pulse", message="load pulses for external meters"))
    async with use_runner(context, record, "pulse") as (use, _):
        typical_ns = float((await infer(record, use, 1))[0])
        for load_s, rest_s in pulses:
            with phase(clock, phases, "load_pulse"):
                begin = clock.monotonic_ns()
                while (left_s := load_s - (clock.monotonic_ns() - begin) * _NS) > 0.0:
                    samples = await infer(record, use, batch_count(min(_PULSE_BATCH_S, left_s), typical_ns))
                    typical_ns = sum(samples) / len(samples)
            await pause(context, rest_s)
    record.clock_check.end_process()
