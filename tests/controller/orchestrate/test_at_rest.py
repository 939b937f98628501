"""A model that travels in four bits: built, kept, sent to a real agent, expanded there, and found to answer alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.orchestrate.single import compress, parity
from edgeloop_protocol.types.run import Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings
from onnx import TensorProto, helper, numpy_helper


def model(path: Path) -> str:
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((64, 512)).astype(np.float32) / 8, "a"),
        numpy_helper.from_array(rng.standard_normal((512, 10)).astype(np.float32) / 20, "b"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


async def test_the_device_expands_what_was_sent_and_answers_like_the_host(tmp_path: Path) -> None:
    source = model(tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32))
    data, listener = str(tmp_path / "d.npz"), SilentListener()
    recipe = Recipe(label="at rest", passes=(PassSpec.of("int4_at_rest"),))
    with App.open(tmp_path / "home") as app:
        made = await compress(app, source, data, recipe, listener)
        assert made.travel_bytes < made.size_bytes / 6
        manifest = app.artifacts.manifest(made.artifact_digest)
        assert [entry.name for entry in manifest.files] == ["golden.npz", "model.packed"]
        (expansion,) = manifest.expansions
        assert expansion.made.name == manifest.model_file == "model.onnx"
        assert expansion.made.size_bytes == made.size_bytes
        text = json.loads(app.artifacts.blob(made.artifact_digest).read_text())
        assert text["expansions"][0]["made"]["digest"] == expansion.made.digest
        benchmark = replace(Benchmark(rounds=1), series="as_deployed")
        (device,) = await parity(
            app, made.artifact_digest, (DeviceSpec.parse("local"),), benchmark, RuntimeSettings(), listener
        )
    assert [evidence.parity for evidence in device.evidence] == [Verdict.PASSED]
