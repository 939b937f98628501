"""Where outputs diverge, found on a board over the real wire."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.compress.describe import describe
from edgeloop.compress.packaging import NO_DECISION, package
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.divergence import DivergenceKind
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.evaluate.inference import run_model
from edgeloop.orchestrate.candidates import build_candidates
from edgeloop.orchestrate.divergence import explain_parity
from edgeloop.orchestrate.prepare import prepare_source
from edgeloop.orchestrate.single import parity
from edgeloop.parity.golden import write_golden
from edgeloop.parity.tolerance import tolerances_for
from edgeloop_protocol.types.run import Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH = 12, 16


def deep_model(path: Path, altered: int | None = None) -> Path:
    """A chain of products with a skip around each; one weight of one layer may be altered."""
    rng = np.random.default_rng(3)
    nodes, weights = [], []
    for layer in range(LAYERS):
        weight = (rng.standard_normal((WIDTH, WIDTH)) / 8).astype(np.float32)
        if layer == altered:
            weight[0, 0] += 4.0
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes += [
            helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"p{layer}"], name=f"product{layer}"),
            helper.make_node("Tanh", [f"p{layer}"], [f"t{layer}"], name=f"tanh{layer}"),
            helper.make_node("Add", [f"x{layer}", f"t{layer}"], [f"x{layer + 1}"], name=f"skip{layer}"),
        ]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, ["n", WIDTH])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def keep_altered(app: App, good: Path, bad: Path, source_digest: str, directory: Path) -> str:
    prepared = prepare_source(app, str(good), 8)
    artifact, files = package(
        bad,
        describe(bad),
        label="altered",
        recipe=Recipe.from_tree("altered", [{"pass": "given"}]),
        source_digest=source_digest,
        directory=directory,
        golden=prepared.golden,
        host=run_model(bad, prepared.golden, batch_size=1),
        original=run_model(good, prepared.golden, batch_size=1),
        decision=NO_DECISION,
        tolerances_for=tolerances_for,
        write_golden=write_golden,
    )
    return app.artifacts.put(artifact, files)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("altered", [0, 7, LAYERS - 1])
def test_an_altered_weight_is_found_at_its_node(tmp_path: Path, altered: int) -> None:
    good, bad = deep_model(tmp_path / "good.onnx"), deep_model(tmp_path / "bad.onnx", altered)
    device = (DeviceSpec.parse("pi=sim:raspberry_pi_5"),)
    benchmark = replace(Benchmark(), rounds=1)
    with App.open(tmp_path / "home") as app:
        prepared = prepare_source(app, str(good), 8)
        source = prepared.description.digest
        digest = keep_altered(app, good, bad, source, tmp_path / "made")

        async def whole() -> None:
            results = await parity(app, digest, device, benchmark, RuntimeSettings(), SilentListener())
            assert results[0].evidence[0].parity is Verdict.FAILED
            ((_, nothing, reason),) = await explain_parity(app, results, SilentListener())
            assert nothing is None
            assert "not kept" in reason
            await build_candidates(app, prepared, (ORIGINAL,), 0, SilentListener())
            ((_, found, reason),) = await explain_parity(app, results, SilentListener())
            assert found is not None, reason
            assert found.first is not None
            assert found.first.node == f"product{altered}"
            assert found.kind is DivergenceKind.ERROR
            assert found.round_count <= 4

        asyncio.run(whole())
