from __future__ import annotations

import numpy as np
import pytest
from edgeloop.compress.compare import answers, output_error
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError


@pytest.fixture
def data(rng):
    x = rng.standard_normal((24, 64)).astype(np.float32)
    x[:, 0] *= 3000  # one feature of its own scale: int8 activations of the first product lose all others
    return Dataset(name="d", inputs={"x": x})


def run(name, source, tmp_path, data, **settings):
    work = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
    work.mkdir()
    context = PassContext(work_directory=work, calibration=data)
    return make_pass(PassSpec.of(name, **settings)).run(
        source.path, work / "out.onnx", context, source.description
    )


def error(result, source, data):
    return output_error(
        answers(result.path, result.description, data), answers(source.path, source.description, data)
    )


def test_the_product_that_costs_most_stays_in_float(zoo, tmp_path, load, data):
    source = load(zoo.layered(tmp_path / "m.onnx", 1e-5))
    whole = run("quantize_static", source, tmp_path, data)
    mixed = run("quantize_mixed", source, tmp_path, data, time_budget=0.95, error_budget=0.08)
    assert "1 of 3 products in float (touchy)" in mixed.notes[-1]
    assert error(whole, source, data) > 0.3
    assert error(mixed, source, data) < 0.08
    held = zoo.initializers(mixed.path)
    assert held["a"].dtype == np.float32
    assert sum(a.dtype == np.int8 and a.ndim == 2 for a in held.values()) == 2


def test_a_model_within_the_budget_is_quantised_whole(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    whole = run("quantize_static", source, tmp_path, image_data)
    mixed = run("quantize_mixed", source, tmp_path, image_data, error_budget=0.5)
    assert mixed.path.read_bytes() == whole.path.read_bytes()
    assert "0 of 4 products in float" in mixed.notes[-1]


def test_bad_input(zoo, tmp_path, load, data):
    source = load(zoo.layered(tmp_path / "m.onnx", 1e-5))
    with pytest.raises(
        UnsupportedError, match=r"the error is still \S+; touchy costs most.*Raise error_budget"
    ):
        run("quantize_mixed", source, tmp_path, data, error_budget=1e-6)
    with pytest.raises(UnsupportedError, match="no calibration data"):
        run("quantize_mixed", source, tmp_path, None)
    with pytest.raises(InvalidInputError, match="error_budget is above 0 and below 1"):
        run("quantize_mixed", source, tmp_path, data, error_budget=0.0)
