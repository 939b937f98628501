"""Nodes that a runtime fuses with the quantisation after them, seen as one.

ONNX Runtime computes ``DequantizeLinear -> product -> QuantizeLinear`` in integers as long as nobody else reads the
value between. Exposing that value takes the fusion apart, and with it whatever the fused kernel does differently on a
device: the search would find agreement at the very node in error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

from edgeloop.domain.divergence import TracedNode

__all__ = ["join_quantized"]

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Folded into the range of the quantisation that follows."""


def join_quantized(nodes: Sequence[TracedNode], outputs: Collection[str]) -> tuple[TracedNode, ...]:
    """Return the nodes with each one that only a quantisation reads standing for both: its name, their last output.

    Args:
        nodes: nodes in topological order.
        outputs: outputs of the model; they are read outside.
    """
    readers: defaultdict[str, list[TracedNode]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            readers[name].append(node)
    joined: list[TracedNode] = []
    swallowed: set[str] = set()
    for node in nodes:
        if swallowed.intersection(node.outputs):
            continue
        chain = _to_quantization(node, readers, outputs)
        swallowed.update(name for member in chain for name in member.outputs)
        joined.append(replace(node, outputs=chain[-1].outputs) if chain else node)
    return tuple(joined)


def _to_quantization(
    node: TracedNode, readers: dict[str, list[TracedNode]], outputs: Collection[str]
) -> list[TracedNode]:
    """Return what follows up to the quantisation; nothing where the value has other readers."""
    chain: list[TracedNode] = []
    if node.op_type in (_QUANTIZE, _DEQUANTIZE):
        return chain
    while len(node.outputs) == 1 and node.outputs[0] not in outputs and len(readers[node.outputs[0]]) == 1:
        (node,) = readers[node.outputs[0]]
        chain.append(node)
        if node.op_type == _QUANTIZE:
            return chain
        if node.op_type not in _ACTIVATIONS:
            break
    return []
