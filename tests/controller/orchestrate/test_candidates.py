"""Judging candidates on the host: one that fails there costs itself, not the experiment."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.compress.sources import load_source
from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import DataSummary, SilentListener
from edgeloop.domain.recipe import ORIGINAL, PassSpec, Recipe
from edgeloop.orchestrate.candidates import judge_candidates
from edgeloop.orchestrate.prepare import Prepared
from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from onnx import TensorProto, helper

COMPRESSED = Recipe(label="int8", passes=(PassSpec.of("some"),))


def model(path: Path, feature: str) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Softmax", [feature], ["y"])],
        "g",
        [helper.make_tensor_value_info(feature, TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def kept(app: App, recipe: Recipe, path: Path) -> Candidate:
    """Put a model into the store as the artifact of a candidate."""
    content = path.read_bytes()
    entry = FileEntry(name="model.onnx", digest=sha256(content).hexdigest(), size_bytes=len(content))
    manifest = Artifact(
        format="onnx", label=recipe.label, files=(entry,), model_file=entry.name, source_digest=entry.digest
    )
    digest = app.artifacts.put(manifest, {entry.name: path})
    return Candidate(
        label=recipe.label, recipe=recipe, state=CandidateState.BUILT, artifact_digest=digest, size_bytes=1
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    points = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    data = Dataset(name="points", inputs={"x": points}, labels=points.argmax(axis=1))
    summary = DataSummary(
        name=data.name,
        digest=data.digest,
        evaluation_count=20,
        calibration_count=0,
        golden_count=1,
        labelled=True,
        task="classification",
        metric="accuracy",
    )
    source = load_source(str(model(tmp_path / "x.onnx", "x")), tmp_path, ())
    return Prepared(source=source, calibration=None, evaluation=data, golden=data, summary=summary)


async def test_a_candidate_that_cannot_be_judged_failed_alone(tmp_path: Path, prepared: Prepared) -> None:
    with App.open(tmp_path / "home") as app:
        original = kept(app, ORIGINAL, tmp_path / "x.onnx")
        other = kept(app, COMPRESSED, model(tmp_path / "z.onnx", "z"))
        judged = await judge_candidates(
            app, prepared, (original, other), seed=0, hopeless_drop=0.5, listener=SilentListener()
        )
        assert [c.state for c in judged] == [CandidateState.BUILT, CandidateState.FAILED]
        assert judged[0].quality is not None
        assert judged[0].quality.value.value == 1.0
        assert "cannot be judged on the host: data 'points' lacks the input 'z'" in judged[1].reason

        wrong = kept(app, ORIGINAL, tmp_path / "z.onnx")
        with pytest.raises(EdgeloopError, match="lacks the input 'z'"):
            await judge_candidates(
                app, prepared, (wrong,), seed=0, hopeless_drop=0.5, listener=SilentListener()
            )
