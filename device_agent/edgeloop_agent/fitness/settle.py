"""Looks at a device before anything is measured, and in the nominal series waits for it and refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeloop_protocol.types.conditions import CheckAnswer, Preflight, PreflightCheck, Rest
from edgeloop_protocol.types.run import FailureKind, Outcome
from edgeloop_protocol.types.trial import Benchmark

from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.preflight import Look, failed_checks, judge, may_pass_by_itself, refusal
from edgeloop_agent.fitness.vitals import temperature_of
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["settle", "wanted_memory_bytes"]

_LOOK_S = {"nominal": 1.0, "as_deployed": 0.25}
"""Processor times count in hundredths of a second: a second tells a percent. Where nothing is refused, a quarter of it
is enough for the record."""

_RUNTIME_BYTES = 150_000_000
"""A runner that has imported its runtime and holds its inputs."""

_MODEL_FACTOR = 1.5
"""Weights, and what a runtime rearranges of them while it loads."""

_NS = 1e-9


async def settle(context: ExecutionContext, records: Sequence[TrialRecord]) -> Preflight:
    """Return what the device answered; in the nominal series an unfit one fails every trial that still stands.

    What may pass by itself is waited for, up to ``settle_s_max`` of the board's time; nothing is ever changed.
    """
    benchmark = context.spec.benchmark
    start_ns = context.board.clock.monotonic_ns()
    wanted = wanted_memory_bytes(records, benchmark)
    preflight = judge(await _look(context, wanted), series=benchmark.series)
    while benchmark.series == "nominal" and not preflight.fit and may_pass_by_itself(preflight):
        waited_s = (context.board.clock.monotonic_ns() - start_ns) * _NS
        if waited_s >= benchmark.settle_s_max or context.stop.reason is not None:
            break
        _tell(context, preflight)
        look = await _look(context, wanted)
        waited_s = (context.board.clock.monotonic_ns() - start_ns) * _NS
        preflight = judge(look, series=benchmark.series, waited_s=waited_s)
    if context.rest is not None:
        preflight = _with_rest(preflight, context.rest)
    if benchmark.series == "nominal" and not preflight.fit:
        reason = refusal(preflight)
        for record in records:
            if record.alive:
                record.failure = RunnerFailure(Outcome.GATE_REFUSED, FailureKind.UNFIT_DEVICE, reason)
    return preflight


def _with_rest(preflight: Preflight, rest: Rest) -> Preflight:
    """Add how the device rested, which no waiting makes better: the rest had its time before."""
    answer = CheckAnswer.FIT if rest.met else CheckAnswer.UNFIT
    check = PreflightCheck(name="cool_down", answer=answer, observed=rest.text, required=rest.wanted)
    return replace(preflight, fit=preflight.fit and rest.met, checks=(*preflight.checks, check), rest=rest)


async def _look(context: ExecutionContext, wanted_bytes: int) -> Look:
    board = context.board
    before = await board.vitals()
    await board.clock.sleep(_LOOK_S[context.spec.benchmark.series])
    after = await board.vitals()
    celsius = temperature_of(after.readings).value
    idle = None if celsius is None else board.idle_temperature.observe(after.monotonic_ns, celsius)
    return Look(before=before, after=after, wanted_memory_bytes=wanted_bytes, idle_celsius=idle)


def wanted_memory_bytes(records: Sequence[TrialRecord], benchmark: Benchmark) -> int:
    """Return what the runners that are alive at once need: one, or those of a whole round side by side."""
    each = [
        _RUNTIME_BYTES + round(_MODEL_FACTOR * record.artifact.model_size_bytes)
        for record in records
        if record.artifact is not None
    ]
    return sum(each) if benchmark.interleave == "batch" else max(each, default=0)


def _tell(context: ExecutionContext, preflight: Preflight) -> None:
    found = "; ".join(f"{c.name} is {c.observed}, required is {c.required}" for c in failed_checks(preflight))
    context.report(Progress(phase="preflight", message=f"waiting for the device to settle: {found}"))
