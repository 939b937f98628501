"""Which executed node is which kernel: by name, and where the runtime renamed nodes, by their order.

A kernel table holds for any board; a runtime rewrites the graph once more for the board it runs on. Convolutions move
to layouts of its own under names of its own, and reorderings appear between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeloop_profiles.predict import follow_convolutions
from edgeloop_protocol.types.artifact import Kernel
from edgeloop_protocol.types.run import NodeTime

__all__ = ["absorbed_operators", "kernel_times"]

_PREFIXES = ("Nhwc", "QLinear", "Fused")
_REORDER = {"ReorderInput": -1, "ReorderOutput": 1}
"""Nodes that change the layout, and the neighbour that they are there for: what ran before, or what runs after."""

_PROFILER_S = 2.5e-6
"""Most that the profiler itself takes per node (measured on x86: 2.0 us on nodes of 0.6 us)."""

_LEAST = 0.2
"""Share of a node's time that is left at least when the profiler's own share is taken off."""

_MOST = 0.8
"""Share of the kernels of one type that have to be gone before the type counts as absorbed."""


def kernel_times(
    kernels: Sequence[Kernel], nodes: Sequence[NodeTime], latency_s: float
) -> tuple[float | None, ...]:
    """Return the time of each kernel; None where no node can be said to be it.

    Nodes of one kind that match no name are taken in their order of execution, but only when there are as many as
    kernels of that kind without a time: with one more or less nobody knows which is which.

    Args:
        kernels: in order of execution.
        nodes: in order of execution.
        latency_s: of the whole model without the profiler; what the nodes take beyond it is the profiler's own.
    """
    known = _settled(nodes, latency_s)
    times = [known.get(kernel.name) for kernel in kernels]
    named = {kernel.name for kernel in kernels}
    rest = [node for node in nodes if node.name not in named]
    for kind in {_kind(kernel.op_type) for kernel in kernels}:
        places = [i for i, k in enumerate(kernels) if times[i] is None and _kind(k.op_type) == kind]
        found = [node for node in rest if _kind(node.op_type) == kind]
        if len(places) == len(found):
            for place, node in zip(places, found, strict=True):
                times[place] = known[node.name]
    return tuple(times)


def _settled(nodes: Sequence[NodeTime], latency_s: float) -> dict[str, float]:
    """Return the time of each node by name as it is without the profiler, with the reorderings that it causes."""
    whole = sum(node.mean_s for node in nodes)
    own = min(_PROFILER_S, max(0.0, whole - latency_s) / max(1, len(nodes)))
    times = {node.name: max(_LEAST * node.mean_s, node.mean_s - own) for node in nodes}
    # The pass with the profiler is a pass of its own: where the machine was slower then, only the proportions count.
    scale = min(1.0, latency_s / max(sum(times.values()), 1e-9))
    times = {name: seconds * scale for name, seconds in times.items()}
    for place, node in enumerate(nodes):
        step = _REORDER.get(node.op_type, 0)
        other = place + step
        while step and 0 <= other < len(nodes) and nodes[other].op_type in _REORDER:
            other += step
        if step and 0 <= other < len(nodes):
            times[nodes[other].name] += times[node.name]
    return times


def absorbed_operators(
    tables: Iterable[tuple[Sequence[Kernel], Sequence[float | None]]],
) -> tuple[str, ...]:
    """Return the operator types that are gone where they could be the end of a convolution.

    Args:
        tables: the kernels of each model with the time of each, None for those that no node stands for.
    """
    gone: dict[str, list[bool]] = {}
    for kernels, times in tables:
        if not any(time is not None for time in times):
            continue
        candidates = frozenset(kernel.op_type for kernel in kernels if not kernel.macs)
        for place in follow_convolutions(kernels, candidates):
            gone.setdefault(kernels[place].op_type, []).append(times[place] is None)
    return tuple(sorted(name for name, seen in gone.items() if sum(seen) >= _MOST * len(seen)))


def _kind(op_type: str) -> str:
    """Return the operator without what a runtime puts in front of it."""
    for prefix in _PREFIXES:
        op_type = op_type.removeprefix(prefix)
    return op_type
