"""A package stands alone: its lines are run, by another process, and say what they should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.orchestrate.package import package_artifact
from edgeloop.orchestrate.single import compress
from edgeloop_foundation.errors import AlreadyExistsError, NotFoundError, UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding
from onnx import TensorProto, helper, numpy_helper

from tests.controller.report.factory import digest as digest_of
from tests.controller.report.factory import experiment

VALUE = helper.make_tensor_value_info


def save(path: Path, nodes: list[onnx.NodeProto], inputs: list, outputs: list, weights: list) -> str:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def classifier(path: Path) -> str:
    weight = np.random.default_rng(0).standard_normal((64, 10)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs, outputs = [VALUE("x", TensorProto.FLOAT, ["n", 64])], [VALUE("y", TensorProto.FLOAT, ["n", 10])]
    return save(path, nodes, inputs, outputs, [numpy_helper.from_array(weight, "w")])


def items(path: Path) -> str:
    rng = np.random.default_rng(1)
    np.savez(path, x=rng.standard_normal((40, 64)).astype(np.float32), labels=rng.integers(0, 10, 40))
    return str(path)


def ran(directory: Path) -> list[str]:
    """Run the package's own program in a process that knows nothing of edgeloop's checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=directory, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def built(app: App, tmp_path: Path, recipe: str = "quantize_dynamic") -> str:
    made = await compress(
        app,
        classifier(tmp_path / "m.onnx"),
        items(tmp_path / "d.npz"),
        Recipe(label="small", passes=(PassSpec.of(recipe),)),
        SilentListener(),
    )
    return made.artifact_digest


async def test_ten_lines_run_the_model_and_the_card_says_what_nobody_knows(tmp_path: Path) -> None:
    with App.open(tmp_path / "home") as app:
        digest = await built(app, tmp_path)
        package = tmp_path / "package"
        assert package_artifact(app, digest[:12], package) == digest
    assert len((package / "run.py").read_text().splitlines()) == 10
    golden = np.load(package / "golden.npz")
    difference, decision = ran(package)
    assert float(difference.removeprefix("y differs by at most ")) < 1e-5
    assert decision == f"decision: [{golden['host/y'][0].argmax()}]"
    card = (package / "README.md").read_text()
    assert (package / "run.py").read_text().rstrip() in card
    assert "No finished experiment on record has judged it." in card
    assert "No finished experiment on record has run it on a device." in card
    assert "not stated: whoever trained the model decides it" in card
    assert json.loads((package / "card.json").read_text())["experiments"] == []
    with pytest.raises(AlreadyExistsError, match=r"exists already.*--output"):
        package_artifact(app, digest, package)


async def test_the_card_has_the_figures_on_record_with_their_conditions(tmp_path: Path) -> None:
    (tmp_path / "photos.py").write_text("def load(path): ...\n")
    with App.open(tmp_path / "home") as app:
        digest = await built(app, tmp_path)
        result = experiment()
        chosen = digest_of("static int8 U8S8 per channel")

        def mine(one: str) -> str:
            return digest if one == chosen else one

        candidates = tuple(replace(c, artifact_digest=mine(c.artifact_digest)) for c in result.candidates)
        devices = tuple(
            replace(d, evidence=tuple(replace(e, artifact_digest=mine(e.artifact_digest)) for e in d.evidence))
            for d in result.devices
        )
        app.records.finish(replace(result, candidates=candidates, devices=devices))
        package_artifact(
            app, digest, tmp_path / "p", licence="Apache-2.0", preprocessing=tmp_path / "photos.py"
        )
    card = (tmp_path / "p/README.md").read_text()
    kept = next(c for c in candidates if c.artifact_digest == digest).quality
    assert kept is not None
    assert kept.value.value is not None
    assert f"accuracy {100 * kept.value.value:.2f} %" in card
    assert "1842 items of 1842 sources" in card
    assert result.data.digest[:12] in card
    assert "| licence | Apache-2.0 |" in card
    assert "simulated: predicted" in card
    assert "no power sensor" in card
    assert (tmp_path / "p/preprocessing.py").read_text() == "def load(path): ...\n"
    tree = json.loads((tmp_path / "p/card.json").read_text())
    (found,) = tree["experiments"]
    assert found["quality"]["item_count"] == 1842
    evidence = next(
        e for e in devices[0].evidence if e.artifact_digest == digest
    )
    assert found["devices"][0]["device"] == devices[0].device.name
    assert found["devices"][0]["evidence"]["run_id"] == evidence.run_id
    assert tree["licence"] == "Apache-2.0"


async def test_a_model_with_state_begins_at_zero(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["x", "state"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["next"]),
        helper.make_node("ReduceSum", ["next"], ["y"], keepdims=1),
    ]
    weight = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)
    inputs = [VALUE("x", TensorProto.FLOAT, [1, 4]), VALUE("state", TensorProto.FLOAT, [1, 6])]
    outputs = [VALUE("y", TensorProto.FLOAT, [1, 1]), VALUE("next", TensorProto.FLOAT, [1, 6])]
    model = save(tmp_path / "m.onnx", nodes, inputs, outputs, [numpy_helper.from_array(weight, "w")])
    x = np.random.default_rng(1).standard_normal((12, 5, 1, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    state = (StateBinding(input="state", output="next"),)
    with App.open(tmp_path / "home") as app:
        original = Recipe(label="original", passes=())
        made = await compress(
            app, model, str(tmp_path / "d.npz"), original, SilentListener(), state=state
        )
        package_artifact(app, made.artifact_digest, tmp_path / "p")
    lines = ran(tmp_path / "p")
    assert lines[-1] == "decision: None"
    assert all(float(line.rpartition(" ")[2]) < 1e-5 for line in lines[:-1])
    assert lines[0].startswith("y differs")


async def test_what_cannot_be_packaged_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with App.open(tmp_path / "home") as app:
        digest = await built(app, tmp_path)
        with pytest.raises(NotFoundError, match=r"nowhere\.py is not a file"):
            package_artifact(app, digest, tmp_path / "p", preprocessing=tmp_path / "nowhere.py")
        manifest = app.artifacts.manifest(digest)
        kept = app.artifacts.directory(digest)
        files = {entry.name: kept / entry.name for entry in manifest.files}
        other = app.artifacts.put(replace(manifest, format="tflite"), files)
        with pytest.raises(UnsupportedError, match=r"'small' is tflite; a package holds ONNX.*artifact get"):
            package_artifact(app, other, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_what_does_not_fit_the_declared_inputs_is_refused(tmp_path: Path) -> None:
    from edgeloop.report.run_lines import processing_module
    from edgeloop_protocol.types.artifact import Artifact, FileEntry, TensorSpec

    entry = FileEntry(name="model.onnx", digest="0" * 64, size_bytes=1)
    manifest = Artifact(
        format="onnx",
        label="m",
        files=(entry,),
        model_file="model.onnx",
        source_digest="0" * 64,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 1)),),
        decision_output="y",
        decision_rule="threshold",
        decision_threshold=0.25,
    )
    space: dict = {}
    exec(processing_module(manifest), space)
    assert space["prepare"]({"x": np.ones((2, 3))})["x"].dtype == np.float32
    assert space["decide"]({"y": np.array([[0.2], [0.3]])}).tolist() == [False, True]
    for wrong in ({}, {"x": np.ones((2, 4))}, {"x": np.ones(3)}, {"x": np.ones((2, 3), complex)}):
        with pytest.raises(ValueError, match="x"):
            space["prepare"](wrong)
