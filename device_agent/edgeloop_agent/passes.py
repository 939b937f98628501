"""The passes beside latency, each in a process of its own: memory, node times, parity."""

from __future__ import annotations

import statistics
from typing import Any, TypeVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.run import FailureKind, Memory, Outcome, Parity, Placement

from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner_use import use_runner
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["check_parity", "measure_memory", "measure_nodes"]

V = TypeVar("V")

_MEMORY_INFERENCES = 5
_NODES_S = 1.0
_NODES_COUNT_MIN, _NODES_COUNT_MAX = 5, 50
_NS = 1e-9


async def measure_memory(context: ExecutionContext, record: TrialRecord) -> None:
    """Read the runner's memory before and after loading, and the peaks of loading and of inference apart."""
    _tell(context, record, "memory")
    async with use_runner(context, record, "memory") as (use, opened):
        loaded = (await use.request("memory", {"reset_peak": True})).reply.header
        await use.request("infer", {"count": _MEMORY_INFERENCES})
        after = (await use.request("memory", {"reset_peak": False})).reply.header
    reasons = dict.fromkeys(str(part.get("reason", "")) for part in (loaded, after))
    record.memory = Memory(
        baseline_rss_bytes=_bytes(opened, "baseline_rss_bytes"),
        loaded_rss_bytes=_bytes(loaded, "rss_bytes"),
        load_peak_rss_bytes=_bytes(loaded, "peak_rss_bytes"),
        inference_peak_rss_bytes=_bytes(after, "peak_rss_bytes"),
        pss_bytes=_bytes(after, "pss_bytes"),
        anonymous_bytes=_bytes(after, "anonymous_bytes"),
        file_bytes=_bytes(after, "file_bytes"),
        method=str(after.get("method", "")),
        reason="; ".join(reason for reason in reasons if reason),
    )


async def measure_nodes(context: ExecutionContext, record: TrialRecord) -> None:
    """Record the time of each node and where it ran."""
    _tell(context, record, "nodes")
    async with use_runner(context, record, "nodes") as (use, _):
        reply = (await use.request("nodes", {"count": _node_runs(record)})).reply
    record.placement = _value(reply.header, Placement)


def _node_runs(record: TrialRecord) -> int:
    """Return how many runs fill about a second: the profile counts whole microseconds, so more is better."""
    if not (pooled := record.pooled_ns):
        return _NODES_COUNT_MIN
    wanted = int(_NODES_S / max(statistics.median(pooled) * _NS, 1e-9))
    return max(_NODES_COUNT_MIN, min(wanted, _NODES_COUNT_MAX))


async def check_parity(context: ExecutionContext, record: TrialRecord) -> None:
    """Hold this device's outputs against the golden pack."""
    _tell(context, record, "parity")
    async with use_runner(context, record, "parity") as (use, _):
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
