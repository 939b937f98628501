"""The search for the first diverging node, on graphs whose truth is known."""

from __future__ import annotations

import random

import pytest
from edgeloop.domain.divergence import DivergenceKind, TracedNode
from edgeloop.parity.divergence import DivergenceSearch, rounding_unit
from edgeloop_protocol.types.run import OutputParity

TOLERANCE = 1e-3


def chain(count: int) -> list[TracedNode]:
    return [
        TracedNode(name=f"n{i}", op_type="Conv", inputs=(f"t{i - 1}",) if i else (), outputs=(f"t{i}",))
        for i in range(count)
    ]


def answer(name: str, error: float) -> OutputParity:
    return OutputParity(
        name=name, max_absolute_error=error, max_relative_error=error, within_tolerance=error <= TOLERANCE
    )


def searched(nodes: list[TracedNode], errors: dict[str, float], unit: float = 1e-6) -> DivergenceSearch:
    read = {name for node in nodes for name in node.inputs}
    leaves = [name for node in nodes for name in node.outputs if name not in read]
    search = DivergenceSearch(nodes, unit, leaves)
    while not search.finished:
        asked = search.next_tensors()
        assert asked, "a search that has not ended asks for something"
        search.learn([answer(name, errors[name]) for name in asked])
        assert search.round_count < 20
    return search


@pytest.mark.parametrize("culprit", [0, 1, 17, 499, 998, 999])
def test_the_culprit_of_a_chain_is_found_in_few_rounds(culprit: int) -> None:
    errors = {f"t{i}": 1e-7 if i < culprit else 0.3 for i in range(1000)}
    search = searched(chain(1000), errors)
    found = search.result("pi", "host", 16)
    assert found.first is not None
    assert found.first.node == f"n{culprit}"
    assert found.kind is DivergenceKind.ERROR
    assert search.round_count <= 4


def test_an_error_in_a_branch_is_followed_back_past_a_good_point() -> None:
    nodes = [
        TracedNode(name="stem", op_type="Conv", inputs=(), outputs=("s",)),
        TracedNode(name="side", op_type="Conv", inputs=("s",), outputs=("a",)),
        *[
            TracedNode(
                name=f"m{i}", op_type="Conv", inputs=("s" if not i else f"b{i - 1}",), outputs=(f"b{i}",)
            )
            for i in range(100)
        ],
        TracedNode(name="join", op_type="Add", inputs=("a", "b99"), outputs=("y",)),
    ]
    errors = {node.outputs[0]: 1e-7 for node in nodes} | {"a": 0.5, "y": 0.4}
    found = searched(nodes, errors).result("pi", "host", 16)
    assert found.first is not None
    assert found.first.node == "side"


def test_rounding_that_grows_is_not_called_an_error() -> None:
    errors = {f"t{i}": 1e-6 * 1.2**i for i in range(60)}
    found = searched(chain(60), errors).result("pi", "host", 16)
    assert found.kind is DivergenceKind.ROUNDING
    assert found.first is not None
    assert found.first.node == "n38", "the first beyond 1e-3"
    assert 0 < found.input_error < TOLERANCE
    assert "rounding" in found.reason


def test_one_step_of_int8_is_a_rounding_and_ten_are_an_error() -> None:
    unit = rounding_unit("int8", "fp32")
    for steps, kind in ((1.5, DivergenceKind.ROUNDING), (60.0, DivergenceKind.ERROR)):
        errors = {f"t{i}": 0.0 if i < 5 else steps / 255 for i in range(9)}
        assert searched(chain(9), errors, unit).result("pi", "host", 16).kind is kind


def test_what_vanishes_with_outputs_exposed_is_said_so() -> None:
    found = searched(chain(40), {f"t{i}": 1e-8 for i in range(40)}).result("pi", "host", 16)
    assert (found.kind, found.first) == (DivergenceKind.NOT_REPRODUCED, None)
    assert "fuses" in found.reason


def test_tensors_that_the_reference_lacks_are_passed_over() -> None:
    search = DivergenceSearch(chain(6), 1e-6, comparable=frozenset({"t1", "t4"}))
    assert search.next_tensors() == ("t1", "t4")


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_ends_at_a_node_whose_inputs_agree(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(1, 200)
    nodes = [
        TracedNode(
            name=f"n{i}",
            op_type="Op",
            inputs=tuple(f"t{j}" for j in sorted({rng.randrange(i) for _ in range(rng.randint(0, 3))}))
            if i
            else (),
            outputs=(f"t{i}",),
        )
        for i in range(count)
    ]
    culprit = rng.randrange(count)
    bad = {f"t{culprit}"}
    for node in nodes[culprit + 1 :]:
        if bad & set(node.inputs):
            bad |= set(node.outputs)
    found = searched(nodes, {f"t{i}": 0.5 if f"t{i}" in bad else 0.0 for i in range(count)})
    result = found.result("pi", "host", 1)
    assert result.first is not None
    assert result.first.node == f"n{culprit}"
