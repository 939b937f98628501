"""A device of this machine with fewer resources: the kernel holds its runners, and every record says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.interfaces.api import Edgeloop
from edgeloop_agent.emulate.emulator import Emulator
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.types.emulation import Emulation
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Source
from edgeloop_protocol.types.trial import Benchmark
from onnx import TensorProto, helper, numpy_helper

BENCHMARK = Benchmark(
    series="as_deployed", rounds=2, steady_s_max=0.6, warmup_s_max=0.1, measure_memory=False,
    measure_nodes=False, check_parity=False,
)  # fmt: skip
BUDGET_BYTES = 160 << 20


@pytest.fixture(autouse=True)
def _groups_can_be_made() -> None:
    try:
        Emulator(Emulation.parse("160MiB", "1", "0.5") or Emulation())
    except UnsupportedError as error:
        pytest.skip(error.message)


def network(path: Path, width: int) -> Path:
    weight = np.random.default_rng(0).standard_normal((width, width)).astype(np.float32)
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product", shapes[:1], shapes[1:], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def bench(home: Path, model: Path, **options: str) -> Run:
    device = DeviceSpec(name="small", transport="local", options=tuple(sorted(options.items())))
    (result,) = Edgeloop(home).bench(str(model), (device,), BENCHMARK)
    assert not result.error, result.error
    (run,) = result.runs
    return run


@pytest.mark.heavy
def test_a_model_beyond_the_budget_is_an_outcome_and_a_smaller_one_runs(tmp_path: Path) -> None:
    big = bench(tmp_path, network(tmp_path / "big.onnx", 5500), memory="160MiB")
    assert (big.outcome, big.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)
    small = bench(tmp_path, network(tmp_path / "small.onnx", 256), memory="160MiB")
    assert (small.outcome, small.source) == (Outcome.SUCCESS, Source.EMULATED)
    assert small.emulation_reading is not None
    assert small.emulation_reading.memory_bytes == BUDGET_BYTES
    assert small.device_id == big.device_id


def test_half_of_one_processor_is_read_back_and_is_another_device(tmp_path: Path) -> None:
    model = network(tmp_path / "model.onnx", 256)
    half = bench(tmp_path, model, cpus="1", compute="0.5")
    whole = bench(tmp_path, model, cpus="1")
    assert half.emulation_reading is not None
    assert half.emulation_reading.quota_s is not None
    assert half.emulation_reading.period_s is not None
    assert half.emulation_reading.quota_s / half.emulation_reading.period_s == pytest.approx(0.5)
    assert half.emulation_reading.processor_count == 1
    assert whole.emulation_reading is not None
    assert (whole.emulation_reading.quota_s, whole.emulation_reading.processor_count) == (None, 1)
    assert half.device_id != whole.device_id
    assert (half.source, whole.source) == (Source.EMULATED, Source.EMULATED)


@pytest.mark.heavy
def test_half_of_one_processor_stops_the_runner(tmp_path: Path) -> None:
    """Not among the quick ones: on processors that others fill, a runner may never come to use up its quota."""
    model = network(tmp_path / "model.onnx", 1500)
    half = bench(tmp_path, model, cpus="1", compute="0.5")
    whole = bench(tmp_path, model, cpus="1")
    blocks = half.timing.blocks if half.timing else ()
    assert sum(block.watch.quota_throttled_count or 0 for block in blocks if block.watch) > 0
    # Others may share these processors, so the mean without a quota says little; that with one cannot be below twice
    # what an inference takes at its best, less what the first period had in store.
    assert mean_s(half) > 1.6 * min(fastest_s(half), fastest_s(whole))


def mean_s(run: Run) -> float:
    assert run.timing is not None
    assert run.timing.steady is not None
    return run.timing.steady.mean


def fastest_s(run: Run) -> float:
    assert run.timing is not None
    assert run.timing.steady is not None
    return run.timing.steady.minimum
