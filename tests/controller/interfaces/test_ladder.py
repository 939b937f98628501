"""``edgeloop ladder`` and ``edgeloop evaluate`` on a real small model, from words to table and exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from .conftest import Call

LADDER = """
ladder:
  - stage: weights
    rungs:
      at rest: [{pass: int4_at_rest}]
  - stage: idle
    rungs:
      dropped: [{pass: drop_identities}]
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A read-out that tells the larger half of its inputs, data for it, and a ladder."""
    rng = np.random.default_rng(0)
    weight = np.kron(np.eye(2), np.ones((64, 16))).astype(np.float32) + rng.normal(0, 0.1, (128, 32))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("MatMul", ["h", "v"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 128])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "w"),
            numpy_helper.from_array(np.kron(np.eye(2), np.ones((16, 1))).astype(np.float32), "v"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    x = rng.uniform(0, 1, (500, 128)).astype(np.float32)
    x[::2, :64] += 0.3
    np.savez(tmp_path / "d.npz", x=x, labels=np.arange(500) % 2)
    (tmp_path / "ladder.yaml").write_text(LADDER)
    return tmp_path


def climbed(call: Call, *words: str) -> Result:
    return call(
        "--quiet", "--home", "home", "ladder", "m.onnx", "--data", "d.npz", "--ladder", "ladder.yaml", *words
    )


def test_a_climb_is_told_and_what_it_chose_can_be_judged(call: Call, files: Path) -> None:
    told = climbed(call, "--keep", "95%", "--json")
    assert told.exit_code == 0, told.output
    climb = json.loads(told.stdout)["climb"]
    assert [(s["rung"], s["taken"]) for s in climb["steps"]] == [("at rest", True), ("dropped", False)]
    assert "no Identity and no Dropout" in climb["steps"][1]["reason"]
    assert climb["chosen"]["travel_bytes"] < climb["chosen"]["size_bytes"] / 3
    shown = climbed(call, "--keep", "0.95")
    assert shown.exit_code == 0
    assert "rolled back" in shown.stdout or "not built" in shown.stdout
    assert "travels as" in shown.stdout
    digest = climb["chosen"]["artifact_digest"]
    words = ("--quiet", "--home", "home", "evaluate", digest[:12], "--against", "m.onnx", "--data", "d.npz")
    judged = call(*words)
    assert judged.exit_code == 0, judged.output
    for part in ("retention", "Classes", "Stability", "same bits"):
        assert part in judged.stdout
    tree = json.loads(call(*words, "--json").stdout)["judgement"]
    assert [c["label"] for c in tree["classes"]] == [0, 1]
    assert tree["quality"]["retention"]["low"] >= 0.95


def test_wrong_words_are_one_sentence(call: Call, files: Path) -> None:
    wrong = climbed(call, "--keep", "much")
    assert wrong.exit_code == 2
    assert "'much' is no share" in wrong.stderr
    unknown = call("ladder", "m.onnx", "--data", "d.npz", "--ladder", "steep")
    assert "there is no ladder 'steep'" in unknown.stderr
