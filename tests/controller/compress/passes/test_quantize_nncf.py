"""Static int8 by NNCF: what its settings do to the answers."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from edgeloop.compress.compare import answers, output_error
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError

INSTALLED = importlib.util.find_spec("nncf") is not None
needs_nncf = pytest.mark.skipif(not INSTALLED, reason="pip install 'edgeloop[nncf]'")


@pytest.fixture
def data(rng):
    x = rng.standard_normal((24, 64)).astype(np.float32)
    # One feature of its own scale: int8 activations of the first product lose all others.
    x[:, 0] *= 300
    return Dataset(name="d", inputs={"x": x})


def run(source, tmp_path, data, **settings):
    work = tmp_path / f"w{len(list(tmp_path.iterdir()))}"
    work.mkdir()
    context = PassContext(work_directory=work, calibration=data)
    step = make_pass(PassSpec.of("quantize_nncf", **settings))
    return step.run(source.path, work / "out.onnx", context, source.description)


def error(result, source, data):
    return output_error(
        answers(result.path, result.description, data), answers(source.path, source.description, data)
    )


@needs_nncf
def test_a_convolutional_network_becomes_int8(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    result = run(source, tmp_path, image_data)
    assert result.description.quantized
    assert "4 of 4 products in int8" in result.notes[-1]
    assert 0 < error(result, source, image_data) < 0.1


@needs_nncf
def test_smoothing_moves_a_wild_feature_into_the_weights(zoo, tmp_path, load, data):
    source = load(zoo.layered(tmp_path / "m.onnx", 1e-4))
    plain = error(run(source, tmp_path, data), source, data)
    smooth = error(run(source, tmp_path, data, smooth_alpha=0.9), source, data)
    assert plain > 0.2
    assert smooth < plain / 3


@needs_nncf
def test_the_touchy_product_goes_back_to_float_until_the_answers_agree(zoo, tmp_path, load, data):
    source = load(zoo.layered(tmp_path / "m.onnx", 1e-4))
    assert error(run(source, tmp_path, data), source, data) > 0.2
    controlled = run(source, tmp_path, data, error_budget=0.1)
    assert error(controlled, source, data) <= 0.1
    held = zoo.initializers(controlled.path)
    assert held["a"].dtype == np.float32
    assert sum(a.dtype == np.int8 and a.ndim == 2 for a in held.values()) >= 1


@needs_nncf
def test_seven_bits_are_seven(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    largest = {
        reduced: max(
            np.abs(a.astype(int)).max()
            for a in zoo.initializers(run(source, tmp_path, image_data, reduce_range=reduced).path).values()
            if a.dtype == np.int8 and a.ndim == 4 and a.shape[1] > 1
        )
        for reduced in (False, True)
    }
    assert largest[False] > 120
    assert largest[True] <= 64


@pytest.mark.skipif(INSTALLED, reason="nncf is installed")
def test_a_missing_package_is_named(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    with pytest.raises(MissingDependencyError, match=r"needs the package 'nncf'.*pip install"):
        run(source, tmp_path, image_data)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "fastest"}, "preset"),
        ({"bias_correction": "none"}, "bias_correction"),
        ({"smooth_alpha": 1.5}, "smooth_alpha is 0 to 1"),
        ({"error_budget": 1.0}, "error_budget is 0 or more"),
        ({"items": 0}, "items is 1 or more"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(InvalidInputError, match=words):
        make_pass(PassSpec.of("quantize_nncf", **settings))
