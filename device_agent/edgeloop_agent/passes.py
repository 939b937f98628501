"""The passes beside latency, each in a process of its own: memory, node times, parity."""

from __future__ import annotations

import statistics
from typing import Any, TypeVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.run import FailureKind, Memory, Outcome, Parity, Placement

from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.placing import require_provider
from edgeloop_agent.fitness.system_memory import SystemMemory
from edgeloop_agent.runner_use import making_spare, use_runner
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["check_parity", "measure_memory", "measure_nodes", "place"]

V = TypeVar("V")

_MEMORY_INFERENCES = 5
_NODES_S = 1.0
_NODES_COUNT_MIN, _NODES_COUNT_MAX = 5, 50
_NS = 1e-9


async def measure_memory(context: ExecutionContext, record: TrialRecord) -> None:
    """Read the runner's memory before and after loading, and the peaks of loading and of inference apart."""
    _tell(context, record, "memory")
    # What starts the runner is no memory of the model's.
    await context.board.keep_spare()
    before = await context.board.vitals()
    async with use_runner(context, record, "memory") as (use, opened):
        loaded = (await use.request("memory", {"reset_peak": True})).reply.header
        await use.request("infer", {"count": _MEMORY_INFERENCES})
        after = (await use.request("memory", {"reset_peak": False})).reply.header
        system = SystemMemory.between(
            before, await context.board.vitals(), context.board.simulation is not None
        )
    reasons = dict.fromkeys(str(part.get("reason", "")) for part in (loaded, after))
    reasons |= dict.fromkeys((str(after.get("cgroup_reason", "")), system.reason))
    methods = (str(after.get("method", "")), str(after.get("cgroup_method", "")), system.method)
    record.memory = Memory(
        baseline_rss_bytes=_bytes(opened, "baseline_rss_bytes"),
        loaded_rss_bytes=_bytes(loaded, "rss_bytes"),
        load_peak_rss_bytes=_bytes(loaded, "peak_rss_bytes"),
        inference_peak_rss_bytes=_bytes(after, "peak_rss_bytes"),
        pss_bytes=_bytes(after, "pss_bytes"),
        anonymous_bytes=_bytes(after, "anonymous_bytes"),
        file_bytes=_bytes(after, "file_bytes"),
        method="; ".join(method for method in methods if method),
        reason="; ".join(reason for reason in reasons if reason),
        cgroup_peak_bytes=_bytes(after, "cgroup_peak_bytes"),
        cgroup_version=_bytes(after, "cgroup_version"),
        system_drop_bytes=system.drop_bytes,
    )


async def measure_nodes(context: ExecutionContext, record: TrialRecord) -> None:
    """Record the time of each node and where it ran."""
    _tell(context, record, "nodes")
    async with use_runner(context, record, "nodes") as (use, _):
        reply = (await use.request("nodes", {"count": _node_runs(record)})).reply
    record.placement = _value(reply.header, Placement)


async def place(context: ExecutionContext, record: TrialRecord) -> None:
    """Record where the nodes run and refuse a trial that has to run on one provider and does not."""
    await measure_nodes(context, record)
    require_provider(record)


def _node_runs(record: TrialRecord) -> int:
    """Return how many runs fill about a second: the profile counts whole microseconds, so more is better."""
    if not (pooled := record.pooled_ns):
        return _NODES_COUNT_MIN
    wanted = int(_NODES_S / max(statistics.median(pooled) * _NS, 1e-9))
    return max(_NODES_COUNT_MIN, min(wanted, _NODES_COUNT_MAX))


async def check_parity(context: ExecutionContext, record: TrialRecord) -> None:
    """Hold this device's outputs against the golden pack."""
    _tell(context, record, "parity")
    async with use_runner(context, record, "parity") as (use, _), making_spare(context.board):
        reply = (await use.request("parity", {})).reply
    record.parity = _value(reply.header.get("parity"), Parity)


def _bytes(header: dict[str, Any], name: str) -> int | None:
    value = header.get(name)
    return value if isinstance(value, int) and value >= 0 else None


def _value(tree: Any, kind: type[V]) -> V:
    try:
        return from_json(tree, kind)
    except InvalidInputError as error:
        raise RunnerFailure(Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, str(error)) from error


def _tell(context: ExecutionContext, record: TrialRecord, phase: str) -> None:
    context.report(
        Progress(
            trial_id=record.trial.trial_id,
            phase=phase,
            sample_count=record.sample_count,
            message=f"{record.trial.label}: {phase}",
        )
    )
