"""The single verbs on a simulated board."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.orchestrate.single import bench
from edgeloop_foundation.errors import InvalidInputError
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


async def test_a_slow_link_and_a_pace_take_the_time_that_they_say(tmp_path: Path, path: str) -> None:
    options = (("link_mbit", "0.05"), ("pace", "20"))
    spec = DeviceSpec(name="far", transport="simulated", address="nuc11", options=options)
    benchmark = Benchmark(
        rounds=1, warmup_s_min=1.0, measure_memory=False, measure_nodes=False, check_parity=False
    )
    with App.open(tmp_path / "home") as app:
        (device,) = await bench(app, path, (spec,), benchmark, RuntimeSettings(), SilentListener())
    assert device.sent_bytes > 500
    assert device.duration_s >= 8 * device.sent_bytes / 50e3 + 1.0 / 20


async def test_a_runtime_that_no_board_knows_is_wrong_input_on_many_boards_too(
    tmp_path: Path, path: str
) -> None:
    devices = tuple(DeviceSpec.parse(f"{name}=sim:nuc11") for name in "ab")
    with App.open(tmp_path / "home") as app, pytest.raises(InvalidInputError, match="abacus"):
        await bench(app, path, devices, Benchmark(), RuntimeSettings(runtime="abacus"), SilentListener())
