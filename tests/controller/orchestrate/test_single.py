"""The single verbs on a simulated board."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.orchestrate.single import compare
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings
from onnx import TensorProto, helper


@pytest.fixture
def path(tmp_path: Path) -> str:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


async def test_a_model_beside_itself_shows_the_noise_and_no_quality_that_nobody_judged(
    tmp_path: Path, path: str
) -> None:
    benchmark = Benchmark(rounds=3, measure_memory=False, measure_nodes=False)
    with App.open(tmp_path / "home") as app:
        (device,) = await compare(
            app,
            path,
            path,
            (DeviceSpec.parse("sim:nuc11"),),
            benchmark,
            RuntimeSettings(),
            SilentListener(),
        )
    first, second = device.evidence
    assert first.run_id != second.run_id
    gain = second.gain("latency_p50")
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < gain.high
    assert all("quality" not in name for evidence in device.evidence for name, _ in evidence.values)
