"""A package stands alone: its lines are run, by another process, and say what they should."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from edgeloop.app import App
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.interfaces.cli.main import cli
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
        [sys.executable, "run.py"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def carried_on(path: Path) -> str:
    """A model whose state is carried from step to step."""
    nodes = [
        helper.make_node("Concat", ["x", "state"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["h"]),
        helper.make_node("Tanh", ["h"], ["next"]),
        helper.make_node("ReduceSum", ["next"], ["y"], keepdims=1),
    ]
    weight = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)
    inputs = [VALUE("x", TensorProto.FLOAT, [1, 4]), VALUE("state", TensorProto.FLOAT, [1, 6])]
    outputs = [VALUE("y", TensorProto.FLOAT, [1, 1]), VALUE("next", TensorProto.FLOAT, [1, 6])]
    return save(path, nodes, inputs, outputs, [numpy_helper.from_array(weight, "w")])


@dataclass(frozen=True)
class Kept:
    """A home with two artifacts: a classifier in int8, and a model with state as it was given."""

    home: Path
    digest: str
    stateful: str


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    place = tmp_path_factory.mktemp("kept")
    x = np.random.default_rng(1).standard_normal((12, 5, 1, 4)).astype(np.float32)
    np.savez(place / "steps.npz", x=x)
    model, data = classifier(place / "m.onnx"), items(place / "d.npz")
    recipe = Recipe(label="small", passes=(PassSpec.of("quantize_dynamic"),))
    state = (StateBinding(input="state", output="next"),)

    async def both(app: App) -> tuple[str, str]:
        silent = SilentListener()
        small = await compress(app, model, data, recipe, silent)
        source, steps = carried_on(place / "s.onnx"), str(place / "steps.npz")
        original = Recipe(label="original", passes=())
        return (
            small.artifact_digest,
            (await compress(app, source, steps, original, silent, state=state)).artifact_digest,
        )

    with App.open(place / "home") as app:
        return Kept(place / "home", *asyncio.run(both(app)))


def test_ten_lines_run_the_model_and_the_card_says_what_nobody_knows(kept: Kept, tmp_path: Path) -> None:
    package = tmp_path / "package"
    with App.open(kept.home) as app:
        assert package_artifact(app, kept.digest[:12], package) == kept.digest
        with pytest.raises(AlreadyExistsError, match=r"exists already.*--output"):
            package_artifact(app, kept.digest, package)
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


def test_the_lines_notice_a_model_that_answers_otherwise(kept: Kept, tmp_path: Path) -> None:
    package = tmp_path / "package"
    with App.open(kept.home) as app:
        package_artifact(app, kept.digest, package)
    weight = np.zeros((64, 10), np.float32)
    other = save(
        package / "model.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [VALUE("x", TensorProto.FLOAT, ["n", 64])],
        [VALUE("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weight, "w")],
    )
    assert other == str(package / "model.onnx")
    assert float(ran(package)[0].removeprefix("y differs by at most ")) > 1.0


def test_the_card_has_the_figures_on_record_with_their_conditions(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "photos.py").write_text("def load(path): ...\n")
    shutil.copytree(kept.home, tmp_path / "home")
    result, chosen = experiment(), digest_of("static int8 U8S8 per channel")

    def mine(one: str) -> str:
        return kept.digest if one == chosen else one

    candidates = tuple(replace(c, artifact_digest=mine(c.artifact_digest)) for c in result.candidates)
    devices = tuple(
        replace(d, evidence=tuple(replace(e, artifact_digest=mine(e.artifact_digest)) for e in d.evidence))
        for d in result.devices
    )
    with App.open(tmp_path / "home") as app:
        app.records.finish(replace(result, candidates=candidates, devices=devices))
        package_artifact(
            app, kept.digest, tmp_path / "p", licence="Apache-2.0", preprocessing=tmp_path / "photos.py"
        )
    card = (tmp_path / "p/README.md").read_text()
    quality = next(c for c in candidates if c.artifact_digest == kept.digest).quality
    assert quality is not None
    assert quality.value.value is not None
    assert f"accuracy {100 * quality.value.value:.2f} %" in card
    assert "1842 items of 1842 sources" in card
    assert result.data.digest[:12] in card
    assert "| licence | Apache-2.0 |" in card
    assert "simulated: predicted" in card
    assert "no power sensor" in card
    assert (tmp_path / "p/preprocessing.py").read_text() == "def load(path): ...\n"
    tree = json.loads((tmp_path / "p/card.json").read_text())
    (found,) = tree["experiments"]
    assert found["quality"]["item_count"] == 1842
    evidence = next(e for e in devices[0].evidence if e.artifact_digest == kept.digest)
    assert found["devices"][0]["device"] == devices[0].device.name
    assert found["devices"][0]["evidence"]["run_id"] == evidence.run_id
    assert tree["licence"] == "Apache-2.0"


def test_a_model_with_state_begins_at_zero(kept: Kept, tmp_path: Path) -> None:
    with App.open(kept.home) as app:
        package_artifact(app, kept.stateful, tmp_path / "p")
    lines = ran(tmp_path / "p")
    assert lines[-1] == "decision: None"
    assert all(float(line.rpartition(" ")[2]) < 1e-5 for line in lines[:-1])
    assert {line.split()[0] for line in lines[:-1]} >= {"y"}


def test_what_cannot_be_packaged_is_said_before_anything_is_written(kept: Kept, tmp_path: Path) -> None:
    shutil.copytree(kept.home, tmp_path / "home")
    with App.open(tmp_path / "home") as app:
        with pytest.raises(NotFoundError, match=r"nowhere\.py is not a file"):
            package_artifact(app, kept.digest, tmp_path / "p", preprocessing=tmp_path / "nowhere.py")
        manifest = app.artifacts.manifest(kept.digest)
        directory = app.artifacts.directory(kept.digest)
        files = {entry.name: directory / entry.name for entry in manifest.files}
        other = app.artifacts.put(replace(manifest, format="tflite"), files)
        with pytest.raises(UnsupportedError, match=r"'small' is tflite; a package holds ONNX.*artifact get"):
            package_artifact(app, other, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_the_verb_writes_it_and_says_where(kept: Kept, tmp_path: Path) -> None:
    words = ["--home", str(kept.home), "artifact", "package", kept.digest[:10], "--licence", "MIT"]
    made = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "p"), "--json"])
    assert json.loads(made.stdout) == {"digest": kept.digest, "directory": str(tmp_path / "p")}
    assert "| licence | MIT |" in (tmp_path / "p/README.md").read_text()
    again = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "p")])
    assert again.exit_code == 2
    assert "exists already" in again.stderr
