"""Whether what lies in a slot works on this board: loaded in the runner's sandbox, golden parity, limits kept."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, StateError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import Isolation, Parity, Verdict
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.board import Board, RunnerSession, RunnerStart, open_arguments
from edgeloop_agent.containment import STEP_S_MAX
from edgeloop_agent.runner_use import memory_limit
from edgeloop_agent.samples import from_bytes
from edgeloop_agent.slots import SlotRecord

__all__ = ["ProbedSlot", "probe_slot"]

# A median of so few is no measurement for a record; as a guard against "ten times too slow" it is enough.
_INFERENCES = 20
_WARM_UP = 3
_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedSlot:
    """A slot that works here."""

    #: Its outputs held against its golden pack.
    parity: Parity
    #: What kept the runner in.
    isolation: Isolation
    #: Median latency of one inference in seconds.
    latency_s: float
    #: Peak of resident memory in bytes; absent when it cannot be read.
    memory_bytes: int | None
    #: Whether the latency is predicted.
    simulated: bool

    @property
    def text(self) -> str:
        """What was measured, for people."""
        memory = "memory unknown" if self.memory_bytes is None else f"peak {self.memory_bytes / 1e6:.0f} MB"
        simulated = " (simulated)" if self.simulated else ""
        return f"parity of {self.parity.item_count} items, median {self.latency_s * 1e3:.3g} ms, {memory}{simulated}"


async def probe_slot(board: Board, record: SlotRecord, directory: Path, artifact: Artifact) -> ProbedSlot:
    """Run a slot and return what was measured.

    Raises:
        StateError: it does not load, differs from its golden pack, or breaks a limit.
    """
    try:
        parity, isolation = await _parity(board, record, directory, artifact)
        latency_s, memory_bytes = await _cost(board, record, directory, artifact)
    except (EdgeloopError, ValueError) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"the probe failed: {str(error).rstrip('.')}.") from error
    limit_s = record.latency_us_max * 1e-6
    if limit_s and latency_s > limit_s:
        raise StateError(
            f"its median latency here is {latency_s * 1e3:.3g} ms, signed are {limit_s * 1e3:.3g} ms."
        )
    if record.memory_bytes_max and (memory_bytes is None or memory_bytes > record.memory_bytes_max):
        taken = "cannot be read" if memory_bytes is None else f"is {memory_bytes} bytes"
        raise StateError(f"its peak memory here {taken}, signed are {record.memory_bytes_max}.")
    return ProbedSlot(
        parity=parity,
        isolation=isolation,
        latency_s=latency_s,
        memory_bytes=memory_bytes,
        simulated=board.simulation is not None,
    )


def _step_s(record: SlotRecord) -> float:
    """Return how long one command may take; several inferences in one command share what is signed for one."""
    return float(record.step_s_max or STEP_S_MAX)


async def _open(
    board: Board, record: SlotRecord, directory: Path, artifact: Artifact, purpose: str
) -> RunnerSession:
    settings = RuntimeSettings(runtime=record.runtime)
    start = RunnerStart(
        artifact_directory=directory,
        artifact=artifact,
        settings=settings,
        batch_size=1,
        memory_bytes=memory_limit(artifact, settings.intra_op_threads + settings.inter_op_threads, 1),
        cpu_s=int(2 * STEP_S_MAX),
        seed=0,
        purpose=purpose,
        limits=record.limits,
    )
    session = await board.start_runner(start)
    try:
        await session.request("open", open_arguments(start), _step_s(record))
    except BaseException:
        await session.close()
        raise
    return session


async def _parity(
    board: Board, record: SlotRecord, directory: Path, artifact: Artifact
) -> tuple[Parity, Isolation]:
    session = await _open(board, record, directory, artifact, "parity")
    try:
        reply = await session.request("parity", {}, _step_s(record))
    finally:
        await session.close()
    parity = from_json(reply.header.get("parity"), Parity)
    verdicts = {one.against: one for one in parity.comparisons}
    failed = next((one for one in parity.comparisons if one.verdict is Verdict.FAILED), None)
    if failed is not None:
        raise StateError(f"its outputs here differ from {failed.against}: {failed.reason}")
    if "host" not in verdicts or verdicts["host"].verdict is not Verdict.PASSED:
        raise StateError("its outputs here could not be held against the host's.")
    return parity, session.isolation


async def _cost(
    board: Board, record: SlotRecord, directory: Path, artifact: Artifact
) -> tuple[float, int | None]:
    """Return the median latency in seconds and the peak of resident memory in bytes."""
    session = await _open(board, record, directory, artifact, "latency")
    try:
        await session.request("infer", {"count": _WARM_UP}, _step_s(record))
        samples = from_bytes(
            (await session.request("infer", {"count": _INFERENCES}, _step_s(record))).payload
        )
        memory = (await session.request("memory", {"reset_peak": False}, _step_s(record))).header
    finally:
        await session.close()
    if not samples:
        raise InvalidInputError("the runner timed no inference")
    peak = memory.get("peak_rss_bytes")
    return statistics.median(samples) * _NS, peak if isinstance(peak, int) else None
