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
    held = {tensor.name for tensor in proto.graph.initializer}
    floats = {tensor.name: tensor for tensor in prepared.graph.initializer}
    before = {node.name: node for node in prepared.graph.node}
    for node in proto.graph.node:
        if node.name not in names or node.name not in before:
            continue
        for index, name in enumerate(node.input):
            pair = made.get(name)
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            rounding = made.get(pair.input[0])
            if rounding is not None and rounding.op_type == "QuantizeLinear":
                node.input[index] = rounding.input[0]
                continue
            original = before[node.name].input[index]
            if original in floats:
                node.input[index] = original
                if original not in held:
                    proto.graph.initializer.append(copy_of(floats[original]))
                    held.add(original)
    drop_unused(proto)
    return proto
