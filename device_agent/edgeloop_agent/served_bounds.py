"""What the process of a served deployment is held to, from what was signed for the versions that it may have open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeloop_foundation.addresses import is_loopback
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_protocol.types.deployment import ModelLimits
from edgeloop_protocol.types.serving import ServingSpec, SwitchRule

from edgeloop_agent.containment import STEP_S_MAX, task_count
from edgeloop_agent.identity_files import DIRECTORY as IDENTITY
from edgeloop_agent.listen import split_address
from edgeloop_agent.slots import Pointer, Slot, SlotFiles
from edgeloop_agent.telemetry.request_log import DIRECTORY as LOGS

__all__ = ["Bounds", "ServedBounds", "names_of", "own_task_count", "readable_of", "writable_of"]

_SWITCH_S = 60.0
"""How long the version before may still be open after a switch."""

_HTTP_CONNECTIONS, _OTHER_TASKS = 64, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of everything that may be open together."""

    #: Resident memory in bytes beyond the server's own; 0 sets no limit.
    memory_bytes: int
    #: Threads and processes, those of the server included.
    task_count: int
    #: Longest load or run in seconds.
    step_s: float
    #: Digests that may be opened.
    digests: frozenset[str]


def names_of(spec: ServingSpec) -> tuple[str, ...]:
    """Return the deployments whose versions a process has open."""
    return tuple(name for name in (spec.name, spec.second, spec.shadow) if name)


def readable_of(spec: ServingSpec, state: Path) -> tuple[Path, ...]:
    """Return what its process reads of the agent's own and the user's files."""
    found = [state / "deployments" / name for name in names_of(spec)]
    if not all(is_loopback(split_address(one)[0]) for one in (spec.grpc_address, spec.http_address)):
        # Every handshake reads them anew, so that a renewal needs no restart.
        found.append(state / IDENTITY)
    if spec.switch and (path := SwitchRule.parse(spec.switch).path):
        # The directory: whoever writes the file may replace it.
        found.append(Path(path).parent)
    return tuple(found)


def writable_of(spec: ServingSpec, state: Path) -> tuple[Path, ...]:
    """Return what its process changes beside its own directory."""
    return (state / LOGS,) if spec.request_log_bytes else ()


def own_task_count(spec: ServingSpec) -> int:
    """Return how many threads the server itself takes at most."""
    return spec.queue_max + 2 * spec.batch_max + _HTTP_CONNECTIONS + _OTHER_TASKS


@dataclass
class ServedBounds:
    """Follows the pointers of one process; ``read`` blocks on the disk."""

    files: SlotFiles
    spec: ServingSpec
    _seen: dict[str, tuple[Pointer, float]] = field(default_factory=dict)

    def read(self, now_s: float) -> Bounds:
        """Return the bounds of now; a version that was switched away from counts for a while."""
        open_together: list[ModelLimits] = []
        digests = set()
        for name in names_of(self.spec):
            pointer, since_s = self._follow(name, now_s)
            if pointer.current:
                open_together.append(pointer.current_limits)
                digests.add(Slot.parse(pointer.current).digest)
            if pointer.previous and now_s - since_s < _SWITCH_S:
                open_together.append(pointer.previous_limits)
        return _together(open_together, own_task_count(self.spec), frozenset(digests))

    def _follow(self, name: str, now_s: float) -> tuple[Pointer, float]:
        known = self._seen.get(name)
        try:
            pointer = self.files.pointer(name)
        except (CorruptDataError, OSError):
            return known or (Pointer(), float("-inf"))
        if known is None or pointer != known[0]:
            # At its start a process has no version before.
            self._seen[name] = known = (pointer, float("-inf") if known is None else now_s)
        return known


def _together(limits: Sequence[ModelLimits], own_tasks: int, digests: frozenset[str]) -> Bounds:
    unlimited = not limits or any(not one.memory_bytes_max for one in limits)
    return Bounds(
        memory_bytes=0 if unlimited else sum(one.memory_bytes_max for one in limits),
        task_count=own_tasks + sum(task_count(one) for one in limits),
        step_s=max((float(one.step_s_max or STEP_S_MAX) for one in limits), default=STEP_S_MAX),
        digests=digests,
    )
