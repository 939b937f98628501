"""What of the TensorRT driver runs without a GPU: its facts, its options, the shapes that an engine is built for."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtimes import tensorrt
from edgeloop_agent.runner.runtimes.tensorrt import TensorRt, build_options, input_ranges
from edgeloop_protocol.types.run import FailureKind, Outcome
from edgeloop_protocol.types.trial import RuntimeSettings

absent = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="the package tensorrt is installed"
)


@absent
def test_its_absence_and_that_it_was_not_run_are_told() -> None:
    facts = TensorRt().facts()
    assert facts.reason == (
        "the package tensorrt is not installed; this driver was written against its documentation and not run on "
        "hardware"
    )
    assert (facts.version, facts.providers, facts.formats) == ("", (), ("onnx",))


@absent
def test_a_trial_on_it_is_unsupported(workshop: Any) -> None:
    artifact = workshop.mlp()
    with pytest.raises(RunnerFailure, match="tensorrt cannot be imported") as caught:
        TensorRt().load(workshop.directory(artifact), artifact, RuntimeSettings(runtime="tensorrt"))
    assert (caught.value.outcome, caught.value.failure_kind) == (
        Outcome.UNSUPPORTED,
        FailureKind.LOAD_FAILED,
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"providers": ("cuda:0", "cuda:1")}, "one device"),
        ({"providers": ("GPU",)}, "not on GPU"),
        ({"providers": ("0",)}, "not on 0"),
        ({"intra_op_threads": 2}, "threads within"),
        ({"inter_op_threads": 2}, "threads across"),
        ({"graph_optimization": "none"}, "'none'"),
        ({"memory_arena": False}, "arena"),
    ],
)
def test_settings_without_an_effect_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(RunnerFailure, match=told) as caught:
        tensorrt._check(RuntimeSettings(runtime="tensorrt", **fields), "tensorrt 10.3.0")
    assert caught.value.outcome is Outcome.UNSUPPORTED


def test_settings_that_it_has_are_taken() -> None:
    settings = RuntimeSettings(
        runtime="tensorrt", providers=("cuda:1",), allow_spinning=True, inference_precision="fp16"
    )
    tensorrt._check(settings, "tensorrt 10.3.0")


def test_options_are_whole_numbers() -> None:
    assert build_options((), "t") == {"batch_opt": 1, "batch_max": 1, "workspace_mib": 1024}
    assert build_options((("batch_max", "8"),), "t")["batch_opt"] == 8
    assert build_options((("batch_max", "8"), ("batch_opt", "2")), "t")["batch_opt"] == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((("abacus", "1"),), "no option 'abacus'; it has batch_max, batch_opt, workspace_mib"),
        ((("batch_max", "many"),), "whole number from 1 on, not 'many'"),
        ((("batch_max", "0"),), "not '0'"),
        ((("batch_opt", "4"),), "batch_opt 4 is greater than batch_max 1"),
    ],
)
def test_other_options_are_refused(options: Any, told: str) -> None:
    with pytest.raises(RunnerFailure, match=told):
        build_options(options, "tensorrt 10.3.0")


def test_a_free_batch_has_a_range_and_fixed_axes_have_none() -> None:
    assert input_ranges([("x", (-1, 3, 8)), ("a", (2, 5)), ("s", ())], 4, 8) == (
        ("a", (2, 5), (2, 5), (2, 5)),
        ("s", (), (), ()),
        ("x", (1, 3, 8), (4, 3, 8), (8, 3, 8)),
    )


def test_another_free_axis_is_refused() -> None:
    with pytest.raises(RunnerFailure, match=r"'x' has the shape \[-1, 3, -1\]") as caught:
        input_ranges([("x", (-1, 3, -1))], 1, 1)
    assert caught.value.outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("cudaMalloc failed: cudaErrorMemoryAllocation", FailureKind.OUT_OF_MEMORY),
        (
            "[defaultAllocator.cpp::allocate] Error Code 1: OutOfMemory (no details)",
            FailureKind.OUT_OF_MEMORY,
        ),
        ("Error Code 4: Internal Error", FailureKind.LOAD_FAILED),
    ],
)
def test_memory_that_ran_out_is_told_apart(text: str, kind: FailureKind) -> None:
    assert tensorrt._explain(RuntimeError(text), "tensorrt 10.3.0", loading=True).failure_kind is kind
