"""Peak of the activations that are alive at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeloop.compress.lowering.profile import Profile, TensorUse

__all__ = ["peak_bytes"]


def peak_bytes(profile: Profile, fed: Mapping[str, int], size_of: Any) -> int:
    """Return the peak over the main graph's order, each buffer freed after its last use.

    Args:
        profile: What was executed.
        fed: Input name -> bytes.
        size_of: Bytes of a :class:`TensorUse`.
    """
    sizes: dict[tuple[str, int], int] = {}
    for execution in profile.executions:
        for position, use in enumerate(execution.outputs):
            key = (execution.key, position)
            sizes[key] = max(sizes.get(key, 0), _bytes(use, size_of))
    return _peak(profile.model.graph, sizes, dict(fed))


def _bytes(use: TensorUse, size_of: Any) -> int:
    return int(size_of(use))


def _names_used(node: Any) -> set[str]:
    """Return every value a node reads, those that its subgraphs take from outside included."""
    used = {name for name in node.input if name}
    for entry in node.attribute:
        for graph in ([entry.g] if entry.HasField("g") else []) + list(entry.graphs):
            for inner in graph.node:
                used |= _names_used(inner)
            used |= {value.name for value in graph.output}
    return used


def _peak(graph: Any, sizes: Mapping[tuple[str, int], int], alive: dict[str, int]) -> int:
    last = {name: index for index, node in enumerate(graph.node) for name in _names_used(node)}
    last |= {value.name: len(graph.node) for value in graph.output}
    peak = sum(alive.values())
    for index, node in enumerate(graph.node):
        inside = max(
            (
                _peak(g, sizes, {})
                for e in node.attribute
                for g in ([e.g] if e.HasField("g") else []) + list(e.graphs)
            ),
            default=0,
        )
        written = [name for name in node.output if name]
        alive |= {name: sizes.get((node.name, position), 0) for position, name in enumerate(written)}
        peak = max(peak, sum(alive.values()) + inside)
        for name in [name for name in alive if last.get(name, -1) <= index]:
            del alive[name]
    return peak
