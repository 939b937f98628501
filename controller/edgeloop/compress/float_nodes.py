"""A QDQ model with some nodes back in float: what each of them costs in quality is measured, not guessed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgeloop.compress.prepare import copy_of, drop_unused

__all__ = ["with_float_nodes"]


def with_float_nodes(quantized: Any, prepared: Any, names: Collection[str]) -> Any:
    """Return a copy in which the named nodes read unrounded inputs and weights.

    Values that other nodes read stay rounded; a Q/DQ pair that nobody reads any more is left for the runtime to drop.

    Args:
        quantized: the QDQ model.
        prepared: the float model that it was made from, with the same node names.
        names: nodes to take back.
    """
    proto = copy_of(quantized)
    made = {node.output[0]: node for node in proto.graph.node if node.output}
    floats = {tensor.name: tensor for tensor in prepared.graph.initializer}
    before = {node.name: node for node in prepared.graph.node}
    makers = {name: node for node in prepared.graph.node for name in node.output}
    added: dict[str, Any] = {}
    nodes: list[Any] = []
    for node in proto.graph.node:
        for index, name in enumerate(node.input if node.name in names and node.name in before else ()):
            pair = made.get(name)
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            original = before[node.name].input[index]
            rounding = made.get(pair.input[0])
            if rounding is None or rounding.op_type != "QuantizeLinear":
                node.input[index] = _constant(original, floats, added) if original in floats else name
            else:
                value, maker = rounding.input[0], makers.get(original)
                dropped = maker is not None and _op_type(made.get(value)) != maker.op_type
                node.input[index] = _activation(maker, value, floats, added, nodes) if dropped else value
        nodes.append(copy_of(node))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(tensor for tensor in added.values() if tensor is not None)
    drop_unused(proto)
    return proto


def _constant(name: str, floats: dict[str, Any], added: dict[str, Any]) -> str:
    """Return a name of its own for an original: the quantiser gives the plain one to what it dequantises."""
    own = f"{name}_unrounded"
    if own not in added:
        added[own] = copy_of(floats[name])
        added[own].name = own
    return own


def _op_type(node: Any) -> str:
    return "" if node is None else str(node.op_type)


def _activation(
    maker: Any, value: str, floats: dict[str, Any], added: dict[str, Any], nodes: list[Any]
) -> str:
    """Put an activation back that the quantiser had dropped, because the range of what follows did its work."""
    own = f"{maker.output[0]}_unrounded"
    if own not in added:
        added[own] = None
        node = copy_of(maker)
        node.name, node.output[0], node.input[0] = f"{maker.name}_unrounded", own, value
        for index, name in enumerate(node.input):
            node.input[index] = _constant(name, floats, added) if name in floats else name
        nodes.append(node)
    return own
