"""What a runner answered, checked: it is as hostile as the model inside it."""

from __future__ import annotations

from array import array
from typing import Any

from edgeloop_protocol.types.run import FailureKind, Outcome

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner_use import RunnerUse
from edgeloop_agent.samples import SAMPLE_BYTES, from_bytes
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["infer", "infer_some", "integer", "nonsense"]


async def infer(record: TrialRecord, use: RunnerUse, count: int) -> array[int]:
    """Run one batch, check the answer and hold its clock against ours.

    Raises:
        RunnerFailure: an inference failed, or the answer does not fit together.
    """
    samples, _ = await infer_some(record, use, count, keep_every=1)
    return samples


async def infer_some(
    record: TrialRecord, use: RunnerUse, count: int, keep_every: int
) -> tuple[array[int], int]:
    """Run one batch of which every so many samples are kept; return those and the longest of all.

    Raises:
        RunnerFailure: as ``infer``.
    """
    arguments = {"count": count} if keep_every == 1 else {"count": count, "keep_every": keep_every}
    timed = await use.request("infer", arguments)
    header, payload = timed.reply.header, timed.reply.payload
    samples = from_bytes(payload)
    span_ns = integer(header, "end_ns") - integer(header, "start_ns")
    wanted = -(-count // keep_every)
    if len(payload) != wanted * SAMPLE_BYTES or min(samples) < 0 or sum(samples) > span_ns:
        raise nonsense(
            f"the runner answered {count} inferences with {len(payload)} bytes of samples that "
            f"do not fit into the {span_ns} ns it says they took."
        )
    record.clock_check.add(span_ns, timed.elapsed_ns)
    return samples, max(samples) if keep_every == 1 else integer(header, "max_ns")


def integer(header: dict[str, Any], name: str) -> int:
    """Return a field of an answer.

    Raises:
        RunnerFailure: it is no integer.
    """
    value = header.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise nonsense(f"the runner's answer has {name}={value!r}, no integer.")


def nonsense(reason: str) -> RunnerFailure:
    """Return the failure of a runner that answers what cannot be."""
    return RunnerFailure(Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, reason)
