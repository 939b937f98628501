"""Executed nodes are found again under the names that the runtime gave them, or not at all."""

from __future__ import annotations

import pytest
from edgeloop.calibrate.matching import absorbed_operators, kernel_times
from edgeloop_protocol.types.artifact import Kernel
from edgeloop_protocol.types.run import NodeTime


def kernel(name: str, op_type: str, kernel_class: str = "conv", moved: int = 4000) -> Kernel:
    return Kernel(
        name=name, kernel_class=kernel_class, op_type=op_type, precision="fp32", macs=1000 * (kernel_class == "conv"),
        input_bytes=moved, weight_bytes=0, output_bytes=4000,
    )  # fmt: skip


def node(name: str, op_type: str, micro: float) -> NodeTime:
    return NodeTime(name=name, op_type=op_type, provider="CPUExecutionProvider", mean_s=micro * 1e-6)


TABLE = (kernel("c0", "FusedConv"), kernel("c1", "Conv"), kernel("a", "Add", "elementwise", 8000))


def test_renamed_convolutions_are_taken_in_order() -> None:
    nodes = [node("relu0_nchwc", "Conv", 100), node("c1_nchwc", "Conv", 300)]
    assert kernel_times(TABLE, nodes, 400e-6) == pytest.approx((100e-6, 300e-6, None))


def test_one_node_too_many_leaves_them_unknown() -> None:
    nodes = [node("x", "Conv", 100), node("y", "Conv", 300), node("z", "Conv", 50), node("a", "Add", 20)]
    assert kernel_times(TABLE, nodes, 470e-6) == pytest.approx((None, None, 20e-6))


def test_reorderings_count_for_what_needs_them() -> None:
    nodes = [
        node("x", "Conv", 100),
        node("y", "Conv", 300),
        node("ReorderOutput", "ReorderOutput", 30),
        node("a", "Add", 20),
        node("ReorderInput", "ReorderInput", 10),
    ]
    assert kernel_times(TABLE, nodes, 460e-6) == pytest.approx((100e-6, 300e-6, 60e-6))


def test_a_slower_pass_with_the_profiler_counts_by_its_proportions() -> None:
    nodes = [node("x", "Conv", 202.5), node("y", "Conv", 602.5)]
    assert kernel_times(TABLE[:2], nodes, 400e-6) == pytest.approx((100e-6, 300e-6))


def test_operators_are_absorbed_that_vanish_behind_convolutions() -> None:
    kept = (kernel("c", "Conv"), kernel("r", "Relu", "elementwise"))
    assert absorbed_operators([(TABLE, (1e-6, 1e-6, None)), (kept, (1e-6, 1e-6))]) == ("Add",)
    assert absorbed_operators([(TABLE, (None, None, None))]) == ()
