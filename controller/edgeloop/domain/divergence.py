"""Where the outputs of a device leave those of the host, node by node."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Divergence", "DivergenceKind", "TensorError", "TracedNode"]


class DivergenceKind(enum.Enum):
    """What a divergence is."""

    #: One node's output is far off although its inputs agree.
    ERROR = "error"
    #: No node is far off: differences of the size of a rounding grow from node to node.
    ROUNDING = "rounding"
    #: With intermediate outputs exposed the device agrees: it arises where the runtime fuses nodes.
    NOT_REPRODUCED = "not_reproduced"


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedNode:
    """One node of the top-level graph, in the file's (topological) order."""

    #: Name; the first output's where the file gives none.
    name: str
    #: Operator type.
    op_type: str
    #: Names of the tensors it reads that other nodes make.
    inputs: tuple[str, ...]
    #: Names of the tensors it makes.
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """Closeness of one tensor on the device to the reference."""

    #: Tensor.
    tensor: str
    #: Node that makes it.
    node: str
    #: Operator type of that node.
    op_type: str
    #: Largest absolute error over the largest magnitude of the reference.
    relative_error: float
    #: Whether it is within the tolerance of the artifact's precision.
    within_tolerance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first diverging node of one artifact on one device."""

    #: Device it was searched on.
    device: str
    #: What the tensors were held against: "host", the same file on the host, or the digest of another artifact.
    against: str
    #: What it is.
    kind: DivergenceKind
    #: The node whose inputs agree and whose output does not; None when nothing diverges.
    first: TensorError | None = None
    #: Largest relative error among the tensors that node reads; 0 where it reads inputs of the model alone.
    input_error: float = 0.0
    #: Every tensor that was looked at, in the order of the graph.
    looked_at: tuple[TensorError, ...] = ()
    #: How often the device was asked.
    round_count: int = 0
    #: Golden items that were compared.
    item_count: int = 0
    #: One sentence.
    reason: str = ""
