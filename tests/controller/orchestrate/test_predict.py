"""Predictions from profiles: those of the simulated board, with what they rest on; records where there are some."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.prediction import BoardPrediction
from edgeloop.interfaces.api import Edgeloop
from edgeloop.orchestrate.predict import predict
from edgeloop.orchestrate.single import artifact_of
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_profiles import load_profile
from edgeloop_profiles.predict import family_shares
from edgeloop_profiles.profile import CalibratedFamily, Calibration
from edgeloop_profiles.writing import to_toml
from edgeloop_protocol.types.run import Run, Source, SpooledRun
from edgeloop_protocol.types.trial import Benchmark
from onnx import TensorProto, helper, numpy_helper

BENCHMARK = Benchmark(
    rounds=3, steady_s_max=0.3, measure_memory=False, measure_nodes=False, check_parity=False, seed=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def path(folder: Path) -> str:
    weight = np.random.default_rng(0).standard_normal((32, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, 64, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    return str(folder / "m.onnx")


@pytest.fixture(scope="module")
def calibrated(folder: Path) -> Path:
    """A profile that was calibrated on convolutions, by its own words."""
    calibration = Calibration(
        kind="fitted", source="a suite in a test", runtime="onnxruntime", runtime_version="1.31.1",
        device_id="the-device", date="2026-11-26", method="shrinkage", model_count=10, held_out_mape=0.1,
        in_family_factor=1.2, out_of_family_factor=1.6, fastest_s=1e-5, slowest_s=1.0, precisions=("fp32",),
        threads=(1,),
        families=(
            CalibratedFamily(name="convolutions", shares=family_shares([("conv", 1.0)])),
            CalibratedFamily(name="products", shares=family_shares([("gemm", 1.0)])),
        ),
    )  # fmt: skip
    profile = dataclasses.replace(load_profile("raspberry_pi_4"), name="mine", calibration=calibration)
    path = folder / "mine.toml"
    path.write_text(to_toml(profile))
    return path


@pytest.fixture(scope="module")
def words(calibrated: Path) -> tuple[str, ...]:
    return f"mine=sim:{calibrated}", "pi=sim:raspberry_pi_5"


@pytest.fixture(scope="module")
def benched(folder: Path, path: str, words: tuple[str, ...]) -> tuple[Run, ...]:
    """The records of both boards, in the home that the tests share."""
    devices = [DeviceSpec.parse(word) for word in words]
    return tuple(device.runs[0] for device in Edgeloop(folder / "home").bench(path, devices, BENCHMARK))


def small_and_old(profile: Path) -> tuple[Path, Path]:
    """Write two profiles beside another one: with little memory, and with a runtime that knows few operators."""
    changes = {
        "small": ("total_bytes = 4294967296", "total_bytes = 440000000"),
        "old": ("max_opset = 26", "max_opset = 12"),
    }
    for name, (before, after) in changes.items():
        text = profile.read_text().replace('name = "mine"', f'name = "{name}"')
        assert before in text
        profile.with_name(f"{name}.toml").write_text(text.replace(before, after))
    return profile.with_name("small.toml"), profile.with_name("old.toml")


def median_s(run: Run) -> float:
    assert run.timing is not None
    assert run.timing.steady is not None
    assert run.timing.steady.p50.value is not None
    return run.timing.steady.p50.value


async def rows_of(app: App, path: str, *words: str, threads: tuple[int, ...] = (1,)) -> list[BoardPrediction]:
    devices = [DeviceSpec.parse(word) for word in words]
    return list(await predict(app, path, devices, SilentListener(), threads=threads))


async def test_what_is_predicted_is_what_the_simulated_board_records(
    folder: Path, path: str, words: tuple[str, ...], benched: tuple[Run, ...]
) -> None:
    with App.open(folder / "home") as app:
        rows = await rows_of(app, path, *words)
    assert [row.tier for row in rows] == ["calibrated here", "transferred, unvalidated"]
    assert (rows[0].nearest_family, rows[1].nearest_family) == ("convolutions", "")
    assert rows[0].interval_factor is not None
    assert rows[1].interval_factor is not None
    assert rows[0].interval_factor < 1.6 < rows[1].interval_factor
    for row, run in zip(rows, benched, strict=True):
        told = run.simulation
        assert told is not None
        assert (told.basis, told.nearest_family, told.stale) == (row.basis, row.nearest_family, row.stale)
        assert (told.family_distance, told.interval_factor) == (row.family_distance, row.interval_factor)
        assert told.extrapolations == row.extrapolations
        assert told.profile_digest == row.profile_digest
        assert run.basis == row.basis
        # Noise and heat are in the record and not in the prediction.
        assert row.latency.value is not None
        assert abs(math.log(median_s(run) / row.latency.value)) < math.log(1.15)


async def test_a_record_of_the_fitted_device_goes_before_the_prediction(
    tmp_path: Path, path: str, words: tuple[str, ...], benched: tuple[Run, ...]
) -> None:
    word, simulated = words[0], benched[0]
    with App.open(tmp_path / "home") as app:
        (before,) = await rows_of(app, path, word)
        assert before.tier == "calibrated here"
        # Measured with other golden inputs, so as another artifact of the same model.
        measured_as = simulated.trial.artifact_digest
        assert (await artifact_of(app, path, "", (), BENCHMARK.seed, SilentListener()))[1] == measured_as
        assert before.artifact_digest != measured_as
        # The board's own record is simulated, and the first one below is of another device: neither counts.
        for number, device_id in enumerate(("another-device", "the-device")):
            measured = dataclasses.replace(
                simulated, run_id=f"m{number}", source=Source.MEASURED, simulation=None, device_id=device_id
            )
            app.records.ingest(SpooledRun(epoch=device_id, sequence=1, run=measured), "real")
            (row, wider) = await rows_of(app, path, word, threads=(1, 4))
            if device_id == "another-device":
                assert row == before
    assert (row.source, row.tier, row.run_id) == (Source.MEASURED, "measured on this device", "m1")
    assert row.latency.value == median_s(simulated)
    assert row.interval_factor is None
    assert (wider.source, wider.tier) == (Source.SIMULATED, "calibrated here")
    assert wider.extrapolations == ("4 threads were not measured, 1 were",)
    assert wider.basis == "calibrated here, out of family"


async def test_boards_that_could_not_run_it_say_why_and_the_others_are_predicted(
    tmp_path: Path, path: str, calibrated: Path
) -> None:
    small, old = small_and_old(calibrated)
    with App.open(tmp_path / "home") as app:
        rows = await rows_of(
            app, path, f"small=sim:{small}", f"old=sim:{old}", f"mine=sim:{calibrated}", threads=(1, 4)
        )
        other = await predict(
            app, path, [DeviceSpec.parse("sim:nuc11")], SilentListener(), runtime="litert", batch_size=2
        )
    assert [(row.board, row.threads) for row in rows] == [
        ("small", 1), ("small", 4), ("old", 1), ("old", 4), ("mine", 1), ("mine", 4),
    ]  # fmt: skip
    assert all("bytes of memory" in row.reason and row.latency.value is None for row in rows[:2])
    assert rows[0].peak_memory.value is not None
    assert all("opset 17" in row.reason and "up to 12" in row.reason for row in rows[2:4])
    assert not any(row.reason for row in rows[4:])
    assert "no figures for the runtime 'litert'" in other[0].reason


async def test_only_profiles_can_be_predicted_for(tmp_path: Path, path: str) -> None:
    with App.open(tmp_path / "home") as app:
        with pytest.raises(InvalidInputError, match=r"this-machine is no profile.*edgeloop bench"):
            await rows_of(app, path, "local")
        with pytest.raises(InvalidInputError, match=r"threads: found \[0\]"):
            await rows_of(app, path, "sim:nuc11", threads=(0,))
        with pytest.raises(NotFoundError, match="raspberry_pi_9"):
            await rows_of(app, path, "sim:raspberry_pi_9")
