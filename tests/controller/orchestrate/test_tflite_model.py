"""A TFLite file that the user gave, measured on this machine; and one that was converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeloop.app import App
from edgeloop.compress.propose import propose
from edgeloop.compress.sources import load_source
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.orchestrate.single import analyze, bench, compress
from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding
from edgeloop_protocol.types.run import Outcome, Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from tests.controller.orchestrate.tflite_models import (
    CLASSES,
    WIDTH,
    tflite_classifier,
    tflite_step,
    tflite_unknown,
)

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")

QUICK = Benchmark(
    rounds=2,
    warmup_s_min=0.01,
    sample_count_min=64,
    steady_s_max=0.2,
    measure_memory=False,
    settle_s_max=0.0,
)


class Notes(SilentListener):
    """Keeps what a person should read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def classifier(tmp_path: Path) -> str:
    path = tmp_path / "classifier.tflite"
    path.write_bytes(tflite_classifier())
    return str(path)


def test_it_is_described(classifier: str, tmp_path: Path) -> None:
    found = load_source(classifier, tmp_path).description
    assert found.format == "tflite"
    assert [(s.name, s.dtype, s.shape) for s in found.inputs] == [("x", "float32", (-1, WIDTH))]
    assert [(s.name, s.dtype, s.shape) for s in found.outputs] == [
        ("probabilities", "float32", (-1, CLASSES)),
        ("class", "int64", (-1,)),
    ]
    assert dict(found.operator_counts) == {"FULLY_CONNECTED": 2, "SOFTMAX": 1, "ARG_MAX": 1}
    assert found.parameter_count == WIDTH * WIDTH + WIDTH * CLASSES + 1
    assert (found.precision, found.quantized) == ("fp32", False)


@pytest.mark.parametrize("content", [b"", b"not a model", tflite_classifier()[:300]])
def test_what_is_no_tflite_model_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="LiteRT cannot open"):
        load_source(str(path), tmp_path)
    with pytest.raises(NotFoundError):
        load_source(str(tmp_path / "absent.tflite"), tmp_path)


def test_nothing_but_the_original_is_proposed(classifier: str, tmp_path: Path) -> None:
    proposal = propose(load_source(classifier, tmp_path).description, (), True)
    assert [recipe.label for recipe in proposal.recipes] == ["original"]
    assert proposal.skipped
    assert all("passes work on ONNX" in skipped.reason for skipped in proposal.skipped)


async def test_it_is_measured_on_litert_and_checked(classifier: str, tmp_path: Path) -> None:
    listener = Notes()
    with App.open(tmp_path / "home") as app:
        (device,) = await bench(
            app, classifier, (DeviceSpec.parse("local"),), QUICK, RuntimeSettings(), listener
        )
        (run,) = device.runs
        manifest = app.artifacts.manifest(run.trial.artifact_digest)
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    assert run.trial.settings.runtime == "litert"
    assert "The model is tflite: it runs on litert." in listener.notes
    assert run.parity is not None
    assert [c.verdict for c in run.parity.comparisons] == [Verdict.PASSED] * 2
    assert run.placement is not None
    assert dict(run.placement.nodes_per_provider)["XNNPACK"] == 3
    assert (manifest.format, manifest.model_file, manifest.kernels) == ("tflite", "model.tflite", ())


async def test_state_is_carried(tmp_path: Path) -> None:
    path = tmp_path / "step.tflite"
    path.write_bytes(tflite_step())
    state = (StateBinding(input="s", output="t"),)
    with App.open(tmp_path / "home") as app:
        (device,) = await bench(
            app, str(path), (DeviceSpec.parse("local"),), QUICK, RuntimeSettings(), Notes(), state=state
        )
    (run,) = device.runs
    assert run.parity is not None
    assert [c.verdict for c in run.parity.comparisons] == [Verdict.PASSED] * 2
    assert {output.name for c in run.parity.comparisons for output in c.outputs} == {"y"}


async def test_what_needs_onnx_says_so(classifier: str, tmp_path: Path) -> None:
    recipe = Recipe(label="int8", passes=(PassSpec.of("quantize_dynamic", weight_type="int8"),))
    with App.open(tmp_path / "home") as app:
        with pytest.raises(InvalidInputError, match="passes work on ONNX"):
            await compress(app, classifier, "", recipe, Notes())
        with pytest.raises(InvalidInputError, match="only ONNX models are analysed"):
            analyze(app, classifier)
        with pytest.raises(InvalidInputError, match="no device knows the runtime litert"):
            await bench(app, classifier, (DeviceSpec.parse("sim:nuc11"),), QUICK, RuntimeSettings(), Notes())


async def test_an_operator_that_litert_lacks_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tflite_unknown())
    with App.open(tmp_path / "home") as app, pytest.raises(UnsupportedError, match="FrobnicateTwice"):
        await bench(app, str(path), (DeviceSpec.parse("local"),), QUICK, RuntimeSettings(), Notes())


async def test_data_is_brought_to_the_element_type_of_the_input(classifier: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, WIDTH), np.float64))
    with App.open(tmp_path / "home") as app:
        (device,) = await bench(
            app,
            classifier,
            (DeviceSpec.parse("local"),),
            QUICK,
            RuntimeSettings(),
            Notes(),
            data=str(tmp_path / "d.npz"),
        )
    assert device.runs[0].outcome is Outcome.SUCCESS, device.runs[0].failure_reason
