"""What LiteRT alone has: delegates, plans of operators, and an older package that computes wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtimes import litert
from edgeloop_agent.runner.runtimes.litert import LiteRtModel, delegated_operators
from edgeloop_protocol.types.run import FailureKind, Outcome

from tests.device_agent.runner.tflite_models import tflite_with_a_stray


def operator(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


# Plans as ai-edge-litert 2.3.0 gave them for the models of tflite_models.
WHOLE = [
    operator("FULLY_CONNECTED", [0, 4, -1], [1]),
    operator("FULLY_CONNECTED", [1, 5, -1], [2]),
    operator("SOFTMAX", [2], [3]),
    operator("DELEGATE", [0, 4, 5], [3]),
]
STRAY = [
    operator("FULLY_CONNECTED", [0, 4, -1], [1]),
    operator("SIGN", [1], [2]),
    operator("FULLY_CONNECTED", [2, 5, -1], [3]),
    operator("DELEGATE", [0, 4], [1]),
    operator("DELEGATE", [2, 5], [3]),
]


@pytest.mark.parametrize(
    ("plan", "taken"),
    [
        (WHOLE, {0, 1, 2}),
        (STRAY, {0, 2}),
        (STRAY[:4], {0}),
        (STRAY[:3], set()),
        ([], set()),
        # A branch that joins again is counted once.
        (
            [
                operator("ADD", [0, 1], [2]),
                operator("MUL", [2], [3]),
                operator("NEG", [2], [4]),
                operator("SUB", [3, 4], [5]),
                operator("DELEGATE", [0, 1], [5]),
            ],
            {0, 1, 2, 3},
        ),
    ],
)
def test_a_delegate_took_what_lies_between_its_ends(plan: list[dict[str, Any]], taken: set[int]) -> None:
    assert delegated_operators(plan) == taken


@pytest.mark.parametrize(
    ("provider", "counts"),
    [("XNNPACK", (("XNNPACK", 2), ("builtin", 1))), ("builtin", (("builtin", 3),))],
)
def test_operators_without_a_kernel_in_the_delegate_are_told(
    provider: str, counts: Any, open_model: Any
) -> None:
    model = open_model("litert", content=tflite_with_a_stray(), providers=(provider,))
    (y,) = model.executor()({"x": np.ones((1, 16), np.float32)})
    assert y.shape == (1, 4)
    placement = model.placement(0)
    assert placement.nodes_per_provider == counts
    assert model.providers == (provider,)
    assert placement.nodes == ()
    assert "gives no time of single operators" in placement.reason


class Plan:
    """An interpreter's answers about a plan: what LiteRT tells of float activations beside int8 weights."""

    def __init__(self, weights: Any, *, tells: bool = True) -> None:
        self._weights = weights
        if tells:
            self._get_ops_details = lambda: WHOLE[:1]

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"name": "x", "index": 0, "shape": np.array([1, 16])}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"name": "y", "index": 1}]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "dtype": np.float32}, {"index": 4, "dtype": self._weights}]


def test_dynamic_range_weights_are_found() -> None:
    assert (
        LiteRtModel(Plan(np.int8), "XNNPACK", "tflite-runtime 2.14.0").hybrid_operator() == "FULLY_CONNECTED"
    )
    assert LiteRtModel(Plan(np.float32), "XNNPACK", "tflite-runtime 2.14.0").hybrid_operator() == ""


def test_a_version_that_does_not_tell_its_plan_says_so() -> None:
    placement = LiteRtModel(Plan(np.float32, tells=False), "XNNPACK", "tflite-runtime 2.5.0").placement(0)
    assert placement.nodes_per_provider == ()
    assert placement.reason == "tflite-runtime 2.5.0 does not tell which operators it runs"


def test_an_operator_that_is_not_there_is_unsupported() -> None:
    error = RuntimeError("Encountered unresolved custom op: Magic. Node number 0 (Magic) failed to prepare.")
    failure = litert._explain(error, "ai-edge-litert 2.3.0", loading=True)
    assert (failure.outcome, failure.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL)
    assert "Magic" in failure.reason


def test_memory_that_ran_out_is_told_apart(tmp_path: Path) -> None:
    failure = litert._explain(MemoryError("std::bad_alloc"), "ai-edge-litert 2.3.0", loading=False)
    assert isinstance(failure, RunnerFailure)
    assert (failure.outcome, failure.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)
