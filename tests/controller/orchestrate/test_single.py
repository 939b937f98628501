"""The single verbs on a simulated board."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.orchestrate.single import bench
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


async def test_quality_that_nobody_judged_is_left_out_and_the_samples_are_assessed(
    tmp_path: Path, path: str
) -> None:
    benchmark = Benchmark(rounds=3, measure_memory=False, measure_nodes=False)
    devices = (DeviceSpec.parse("sim:nuc11"),)
    with App.open(tmp_path / "home") as app:
        (device,) = await bench(app, path, devices, benchmark, RuntimeSettings(), SilentListener())
    (evidence,) = device.evidence
    assert all("quality" not in name for name, _ in evidence.values)
    assert evidence.latency is not None
    assert evidence.latency.run_id == evidence.run_id
    assert len(evidence.latency.processes) == 3
    assert evidence.value("latency_p50") == evidence.latency.p50
