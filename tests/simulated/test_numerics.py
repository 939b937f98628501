"""Parity on simulated boards that sum 8-bit products in different ways, over the real wire."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import edgeloop_profiles
import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.divergence import DivergenceKind
from edgeloop.domain.experiment import DeviceResult, SilentListener
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.candidates import build_candidates
from edgeloop.orchestrate.divergence import explain_parity
from edgeloop.orchestrate.prepare import prepare
from edgeloop.orchestrate.single import parity
from edgeloop_agent.runner.numerics.tiers import host_saturates
from edgeloop_protocol.types.run import Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings
from onnx import TensorProto, helper, numpy_helper

SILENT = SilentListener()
PARITY = Benchmark(rounds=1)


def older_board(directory: Path) -> str:
    """Write the profile of a board as NUC 11, but without VNNI; return its address."""
    text = (Path(edgeloop_profiles.__file__).parent / "boards/nuc11.toml").read_text(encoding="utf-8")
    text = re.sub(r"^name = .*$", 'name = "older_nuc"', text, count=1, flags=re.MULTILINE)
    path = directory / "older_nuc.toml"
    path.write_text(text.replace('isa_tier = "avx512_vnni"', 'isa_tier = "avx2"'), encoding="utf-8")
    return str(path)


def write_model(directory: Path) -> Path:
    """Four convolutions: weights of the first two alternate in sign, so that only the third and fourth saturate."""
    rng = np.random.default_rng(3)
    nodes, constants = [], [numpy_helper.from_array(np.float32(0), "low")]
    for layer, (outputs, inputs, high) in enumerate([(8, 4, 0.3), (8, 8, 0.02), (8, 8, 3), (4, 8, 30)]):
        weight = (rng.uniform(0.5, 1, (outputs, inputs, 3, 3)) * (0.1 if layer else 0.2)).astype(np.float32)
        if layer < 2:
            weight[:, 1::2] *= -1
        constants += [
            numpy_helper.from_array(weight, f"w{layer}"),
            numpy_helper.from_array(np.float32(high), f"high{layer}"),
        ]
        read, product, write = f"x{layer}", f"p{layer}", f"x{layer + 1}"
        nodes += [
            helper.make_node("Conv", [read, f"w{layer}"], [product], name=f"conv{layer}", pads=[1, 1, 1, 1]),
            helper.make_node("Clip", [product, "low", f"high{layer}"], [write], name=f"clip{layer}"),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["x4"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["y"], name="flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 4, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        constants,
    )
    path = directory / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.savez(directory / "data.npz", x0=rng.standard_normal((64, 4, 12, 12)).astype(np.float32))
    return path


@pytest.mark.timeout(240)
@pytest.mark.skipif(host_saturates(), reason="the golden values of this host saturate themselves")
def test_full_range_weights_fail_where_vnni_is_missing_and_reduced_ones_do_not(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    address = older_board(tmp_path)
    boards = (
        DeviceSpec.parse(f"old=sim:{address}"),
        DeviceSpec.parse("new=sim:nuc11"),
        DeviceSpec(name="blind", transport="simulated", address=address, options=(("numerics", "host"),)),
    )

    async def whole(app: App) -> None:
        prepared = await asyncio.to_thread(
            prepare, app, str(model), str(tmp_path / "data.npz"), (), 0, SILENT
        )
        recipes = [
            Recipe.from_tree(f"int8-{reduced}", [{"pass": "quantize_static", "reduce_range": reduced}])
            for reduced in (False, True)
        ]
        _, full, reduced = await build_candidates(app, prepared, (ORIGINAL, *recipes), 0, SILENT)

        async def check(digest: str) -> tuple[DeviceResult, ...]:
            return await parity(app, digest, boards, PARITY, RuntimeSettings(), SILENT)

        results = await check(full.artifact_digest)
        verdicts = {result.device.name: result.evidence[0].parity for result in results}
        assert verdicts == {"old": Verdict.FAILED, "new": Verdict.PASSED, "blind": Verdict.PASSED}
        versions = {result.device.name: result.runs[0].runtime_version for result in results}
        assert "int8 saturation of avx2 emulated in 2 of 4 products" in versions["old"]
        assert "emulated" not in versions["new"] + versions["blind"]
        ((spec, found, reason),) = await explain_parity(app, results, SILENT)
        assert found is not None, reason
        assert found.first is not None
        assert (spec.name, found.kind, found.first.node) == ("old", DivergenceKind.ERROR, "conv2")

        results = await check(reduced.artifact_digest)
        assert [result.evidence[0].parity for result in results] == [Verdict.PASSED] * 3
        assert "no sum of the 4 products can leave 16 bits" in results[0].runs[0].runtime_version

    with App.open(tmp_path / "home") as app:
        asyncio.run(whole(app))
