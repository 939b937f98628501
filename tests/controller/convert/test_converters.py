"""What every converter has to hold, and TFLite's own part where its converter is there."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from edgeloop.convert import BUILTIN, CONVERTERS
from edgeloop.convert.tflite import ONNX2TF_VARIABLE, TfLite
from edgeloop.domain.dataset import Dataset
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError
from edgeloop_protocol.types.artifact import TensorSpec

SPECS = (TensorSpec(name="x", dtype="float32", shape=(-1, 8, 8, 8)),)
needs_converter = pytest.mark.skipif(bool(TfLite().missing()), reason=TfLite().missing() or "there")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_registered_name_file_and_format_agree(name: str) -> None:
    driver = CONVERTERS.load(name)
    assert driver.name == name
    assert driver.__module__ == f"edgeloop.convert.{name}"
    assert driver.suffix.startswith(".")
    assert "pip install" in driver().advice()


@pytest.mark.parametrize("python", [sys.executable, "/nonexistent/python"])
def test_missing_converter_says_what_to_install(
    python: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONNX2TF_VARIABLE, python)
    if not TfLite().missing():
        pytest.skip("this Python has onnx2tf")
    assert TfLite().version() == ""
    with pytest.raises(MissingDependencyError, match=r"needs onnx2tf.*\s.*pip install.*onnx2tf=="):
        TfLite().convert(images, SPECS, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@needs_converter
def test_values_and_layout_stay_and_the_source_is_untouched(images: Path, tmp_path: Path) -> None:
    """As many channels as rows: the wrong order would have the right shape."""
    before = digest(images)
    os.chmod(images, 0o444)
    made = TfLite().convert(images, SPECS, tmp_path / "made")
    assert digest(images) == before
    x = np.random.default_rng(6).standard_normal((2, 8, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(images), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    found = TfLite().run(made, Dataset(name="pictures", inputs={"x": x}))
    np.testing.assert_allclose(found["y"], expected, rtol=1e-4, atol=1e-5)


@needs_converter
def test_an_output_may_be_read_inside_the_model(read_twice: Path, tmp_path: Path) -> None:
    made = TfLite().convert(read_twice, SPECS, tmp_path / "made")
    x = np.random.default_rng(7).standard_normal((2, 8, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(read_twice), providers=["CPUExecutionProvider"])
    found = TfLite().run(made, Dataset(name="pictures", inputs={"x": x}))
    for name, expected in zip(("y", "means"), session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


@needs_converter
def test_shape_arithmetic_converts(shape_arithmetic: Path, tmp_path: Path) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(-1, 3, 4, 4))
    made = TfLite().convert(shape_arithmetic, (spec,), tmp_path / "made")
    found = TfLite().run(made, Dataset(name="rows", inputs={"x": np.ones((1, 3, 4, 4), np.float32)}))
    assert found["y"].shape == (1, 5)
    assert found["y"].sum() == pytest.approx(1.0, abs=1e-5)


@needs_converter
def test_an_operator_that_tflite_lacks_is_one_sentence(vendors_operator: Path, tmp_path: Path) -> None:
    """onnx2tf writes it down as a custom operator: it is the run on this host that finds out."""
    spec = TensorSpec(name="x", dtype="float32", shape=(6, 8))
    data = Dataset(name="points", inputs={"x": np.ones((1, 6, 8), np.float32)})
    made = TfLite().convert(vendors_operator, (spec,), tmp_path / "made")
    with pytest.raises(InvalidInputError, match=r"^LiteRT cannot open [^\n]*CDIST[^\n]*\.$"):
        TfLite().run(made, data)
