"""Whole networks: with this machine's own arithmetic worked out, they equal ONNX Runtime bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.numerics import model as numerics
from edgeloop_agent.runner.numerics.tiers import host_saturates, saturates
from edgeloop_agent.runner.runtimes.onnxruntime import OnnxRuntime
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.trial import RuntimeSettings
from onnx import TensorProto, helper, numpy_helper

from tests.device_agent.runner.numerics.networks import items, quantize, write_network

Made = Callable[..., Path]
OTHER_TIER = "avx512_vnni" if host_saturates() else "avx2"
"""One that sums unlike this machine."""

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    source = write_network(tmp_path_factory.mktemp("networks") / "network.onnx")
    kept: dict[tuple[object, ...], Path] = {}
    logging.getLogger("root").setLevel(logging.ERROR)

    def make(form: str, activations: str = "QUInt8", reduce_range: bool = False) -> Path:
        key = (form, activations, reduce_range)
        if key not in kept:
            kept[key] = quantize(source, form, activations=activations, reduce_range=reduce_range)
        return kept[key]

    return make


def artifact_of(path: Path) -> Artifact:
    entry = FileEntry(name=path.name, digest="0" * 64, size_bytes=path.stat().st_size)
    return Artifact(format="onnx", label="net", files=(entry,), model_file=path.name, source_digest="1" * 64)


def load(path: Path, tier: str, level: str = "all") -> tuple[object, str]:
    settings = RuntimeSettings(graph_optimization=level)
    return numerics.load_with_numerics(OnnxRuntime(), path.parent, artifact_of(path), settings, tier)


def run(model: object) -> np.ndarray:
    return np.asarray(model.executor()({"x": items(6, seed=2)})[0])  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_own_arithmetic_worked_out_equals_the_engine_bit_for_bit(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, level: str
) -> None:
    monkeypatch.chdir(tmp_path)
    other, words = load(made(form), OTHER_TIER, level)
    if not isinstance(other, numerics.SplitModel):
        # Unfused pairs of quantisation are computed in float32.
        assert (form, level) == ("QDQ", "basic")
        assert "no sum of the 0 products" in words
        return
    assert "emulated in" in words
    engine = run(other._plain)
    settings = RuntimeSettings(graph_optimization=level)
    optimized = numerics.optimize(made(form), settings)
    own = numerics.SplitModel(
        optimized, numerics.Choice.of(optimized.graph).nodes, other._plain, saturating=host_saturates()
    )
    assert np.array_equal(run(own), engine)
    assert not np.array_equal(run(other), engine)


def test_seven_bit_weights_run_on_the_engine_alone(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, words = load(made("QDQ", reduce_range=True), OTHER_TIER)
    assert not isinstance(model, numerics.SplitModel)
    assert "can leave 16 bits" in words


def test_a_tier_that_sums_like_this_machine_changes_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    same = next(tier for tier in ("avx2", "neon") if saturates(tier) == host_saturates())
    model, words = load(made("QDQ"), same)
    assert not isinstance(model, numerics.SplitModel)
    assert words == ""


def test_signed_activations_that_stay_signed_are_left_to_the_engine(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, words = load(made("QOperator", "QInt8"), OTHER_TIER)
    assert not isinstance(model, numerics.SplitModel)
    assert "no sum of the 0 products" in words


@pytest.mark.skipif(not host_saturates() and OTHER_TIER != "avx2", reason="needs a tier that saturates")
def test_signed_pairs_are_made_unsigned_by_the_engine_and_then_differ(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, words = load(made("QDQ", "QInt8"), OTHER_TIER)
    assert isinstance(model, numerics.SplitModel), words


def test_a_model_that_is_too_large_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(RunnerFailure, match=r"takes 64 MiB.*numerics=host"):
        numerics.optimize(path, RuntimeSettings())


def test_times_of_an_emulation_are_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, _ = load(made("QDQ"), OTHER_TIER)
    with pytest.raises(RunnerFailure, match="never timed"):
        model.placement(0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("tier", "expected"), [("neon_dotprod", "fp16 arithmetic"), ("neon", "")])
def test_half_precision_that_is_not_worked_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    weight = numpy_helper.from_array(np.ones((4, 2), np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 2])],
        [weight],
    )
    path = tmp_path / "half.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    _, words = load(path, tier)
    assert words.startswith(expected)
    assert bool(words) is bool(expected)
