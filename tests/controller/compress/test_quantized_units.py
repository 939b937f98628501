"""What counts as one node where a quantisation follows."""

from __future__ import annotations

from edgeloop.compress.quantized_units import join_quantized
from edgeloop.domain.divergence import TracedNode


def node(name: str, op_type: str, inputs: str, outputs: str) -> TracedNode:
    return TracedNode(name=name, op_type=op_type, inputs=tuple(inputs), outputs=tuple(outputs))


CHAIN = (
    node("dequantize", "DequantizeLinear", "a", "b"),
    node("conv", "Conv", "b", "c"),
    node("relu", "Relu", "c", "d"),
    node("quantize", "QuantizeLinear", "d", "e"),
    node("after", "DequantizeLinear", "e", "f"),
)


def shape(nodes: tuple[TracedNode, ...]) -> list[tuple[str, str]]:
    return [(one.name, "".join(one.outputs)) for one in nodes]


def test_a_product_stands_for_its_activation_and_quantisation() -> None:
    assert shape(join_quantized(CHAIN, "f")) == [("dequantize", "b"), ("conv", "e"), ("after", "f")]


def test_a_value_that_is_read_elsewhere_or_is_an_output_is_left_visible() -> None:
    other = (*CHAIN, node("other", "Sigmoid", "d", "g"))
    assert shape(join_quantized(other, "fg")) == shape(other)
    assert shape(join_quantized(CHAIN, "df")) == shape(CHAIN)


def test_nodes_without_quantisation_stay_as_they_are() -> None:
    plain = (node("one", "Conv", "a", "b"), node("two", "Relu", "b", "c"), node("three", "Softmax", "c", "d"))
    assert join_quantized(plain, "d") == plain
