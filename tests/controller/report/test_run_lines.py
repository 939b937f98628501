"""The generated module holds arrays against the declared inputs; the program itself is run by the package's test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from edgeloop.report.run_lines import processing_module, run_program
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.types.artifact import Artifact, FileEntry, StateBinding, TensorSpec


def manifest(**changes: Any) -> Artifact:
    given: dict[str, Any] = {
        "format": "onnx",
        "label": "m",
        "files": (FileEntry(name="model.onnx", digest="0" * 64, size_bytes=1),),
        "model_file": "model.onnx",
        "source_digest": "0" * 64,
        "inputs": (TensorSpec(name="x", dtype="float32", shape=(-1, 3)),),
        "outputs": (TensorSpec(name="y", dtype="float32", shape=(-1, 1)),),
    }
    return Artifact(**given | changes)


def module(of: Artifact) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(processing_module(of), space)
    return space


def test_arrays_are_cast_where_that_loses_no_kind_and_refused_where_they_do_not_fit() -> None:
    space = module(manifest())
    feed = space["prepare"]({"x": np.ones((2, 3), np.float64)})
    assert feed["x"].dtype == np.float32
    for wrong in ({}, {"x": np.ones((2, 4))}, {"x": np.ones(3)}, {"x": np.ones((2, 3), complex)}):
        with pytest.raises(ValueError, match="x"):
            space["prepare"](wrong)


def test_a_model_without_a_batch_axis_takes_an_item_with_one() -> None:
    space = module(manifest(inputs=(TensorSpec(name="x", dtype="int64", shape=(4,)),)))
    assert space["prepare"]({"x": np.ones((1, 4), np.int32)})["x"].shape == (4,)


def test_state_begins_at_zero_and_free_axes_are_one() -> None:
    inputs = (*manifest().inputs, TensorSpec(name="s", dtype="float32", shape=(2, -1)))
    space = module(manifest(inputs=inputs, state=(StateBinding(input="s", output="y"),)))
    assert space["prepare"]({"x": np.ones((1, 3))})["s"].tolist() == [[0.0], [0.0]]


def test_decisions_are_read_by_the_declared_rule() -> None:
    rule = {"decision_output": "y", "decision_rule": "threshold", "decision_threshold": 0.25}
    assert module(manifest(**rule))["decide"]({"y": np.array([[0.2], [0.3]])}).tolist() == [False, True]
    scores = np.array([[0.1, 0.9], [2.0, 1.0]])
    assert module(manifest(decision_output="y", decision_rule="argmax"))["decide"](
        {"y": scores}
    ).tolist() == [1, 0]
    assert module(manifest())["decide"]({"y": scores}) is None


def test_without_golden_pack_there_is_nothing_to_run_it_on() -> None:
    with pytest.raises(UnsupportedError, match="'m' has no golden pack"):
        run_program(manifest())
