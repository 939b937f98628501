"""How a run ended, and what its process tells of itself: all that a runner needs to know of a run.

Apart from the run, for a process starts once per round and trial, and every value costs a part of its start.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["FailureKind", "Isolation", "NodeTime", "Outcome", "Placement"]


class Outcome(enum.Enum):
    """How a run ended; every failure is a row too."""

    SUCCESS = "success"
    USER_ERROR = "user_error"
    HARNESS_ERROR = "harness_error"
    DEVICE_ERROR = "device_error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    GATE_REFUSED = "gate_refused"
    UNSUPPORTED = "unsupported"


class FailureKind(enum.Enum):
    """What exactly went wrong."""

    NONE = "none"
    LOAD_FAILED = "load_failed"
    INFERENCE_FAILED = "inference_failed"
    RUNNER_CRASHED = "runner_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    CORRUPT_ARTIFACT = "corrupt_artifact"
    UNSUPPORTED_MODEL = "unsupported_model"
    OUT_OF_DISK = "out_of_disk"
    UNFIT_DEVICE = "unfit_device"
    PROVIDER_FALLBACK = "provider_fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTime:
    """Time of one executed node, from a pass of its own."""

    #: Name in the executed graph.
    name: str
    #: Operator type.
    op_type: str
    #: Execution provider that ran it.
    provider: str
    #: Mean time per inference.
    mean_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the nodes ran."""

    #: Executed nodes with their times, in order of execution; empty when not measured.
    nodes: tuple[NodeTime, ...] = ()
    #: Nodes per provider, sorted by name.
    nodes_per_provider: tuple[tuple[str, int], ...] = ()
    #: Why it is missing; empty when it is there.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What kept the runner in, as seen from inside."""

    #: Strongest tier in force, for example "process".
    tier: str
    #: Each layer and whether it held when probed.
    layers: tuple[tuple[str, bool], ...] = ()
    #: Why no stronger tier was taken; empty when there is none, or when the record is older than this field.
    reason: str = ""
