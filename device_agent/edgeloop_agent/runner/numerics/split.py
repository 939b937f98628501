"""Cuts a graph at the nodes that are computed here, so that the engine runs everything between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Stage", "names_read", "spell_out_dynamic_products", "split"]

Node = Any
"""``onnx.NodeProto``; typed loosely, onnx has no types for its generated code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What runs together: nodes for the engine, then nodes that are computed here."""

    #: Nodes for the engine, in order.
    engine: tuple[Node, ...]
    #: Values that the engine's part takes from earlier stages or the caller, sorted.
    inputs: tuple[str, ...]
    #: Values of the engine's part that somebody reads later, sorted.
    outputs: tuple[str, ...]
    #: Nodes that are computed here afterwards, in order.
    replaced: tuple[Node, ...]


def split(graph: Any, is_replaced: Callable[[Node], bool]) -> tuple[Stage, ...]:
    """Return the stages of a graph in the order in which they run.

    Args:
        graph: ``onnx.GraphProto``, its nodes in topological order.
        is_replaced: whether a node is computed here.
    """
    depth: dict[str, int] = {}
    engine: dict[int, list[Node]] = {}
    replaced: dict[int, list[Node]] = {}
    for node in graph.node:
        here = is_replaced(node)
        level = max((depth.get(name, 0) for name in names_read(node)), default=0)
        (replaced if here else engine).setdefault(level, []).append(node)
        # What reads a replaced node's output cannot run in the same part of the engine.
        depth.update((name, level + here) for name in node.output if name)
    count = 1 + max([*engine, *replaced], default=0)
    stages = [(engine.get(level, []), replaced.get(level, [])) for level in range(count)]
    return tuple(_close(graph, stages))


def _close(graph: Any, stages: Sequence[tuple[list[Node], list[Node]]]) -> Iterator[Stage]:
    constants = {tensor.name for tensor in graph.initializer}
    wanted = {output.name for output in graph.output}
    readers = [{name for node in (*run, *own) for name in names_read(node)} for run, own in stages]
    for level, (run, own) in enumerate(stages):
        made = {name for node in run for name in node.output if name}
        later = wanted.union(*readers[level + 1 :], *(set(names_read(node)) for node in own))
        read = {name for node in run for name in names_read(node)}
        yield Stage(
            engine=tuple(run),
            inputs=tuple(sorted(read - made - constants)),
            outputs=tuple(sorted(made & later)),
            replaced=tuple(own),
        )


def names_read(node: Node) -> list[str]:
    """Return the values of the graph that a node reads, those inside its bodies included."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            inside = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
            inside.update(name for inner in body.node for name in inner.output)
            found += [name for inner in body.node for name in names_read(inner) if name not in inside]
    return found


def spell_out_dynamic_products(graph: Any, is_replaced: Callable[[Node], bool]) -> None:
    """Write ``DynamicQuantizeMatMul`` as the two operators it fuses; the engine keeps quantising the activations."""
    from onnx import helper

    nodes: list[Node] = []
    for node in graph.node:
        if node.op_type != "DynamicQuantizeMatMul" or not is_replaced(node):
            nodes.append(node)
            continue
        left, right, scale, zero, bias = (*node.input, "", "", "")[:5]
        made = [f"{node.output[0]}/{part}" for part in ("quantized", "scale", "zero_point")]
        nodes.append(helper.make_node("DynamicQuantizeLinear", [left], made, name=f"{node.name}/quantize"))
        operands = [made[0], right, made[1], scale, made[2], zero, bias]
        nodes.append(
            helper.make_node(
                "MatMulIntegerToFloat", operands, list(node.output), name=node.name, domain="com.microsoft"
            )
        )
    del graph.node[:]
    graph.node.extend(nodes)
