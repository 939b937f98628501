from __future__ import annotations

import onnx
import pytest
from edgeloop.compress.compare import answers, output_error
from edgeloop.compress.float_nodes import with_float_nodes
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.prepare import prepare
from edgeloop.domain.recipe import PassSpec

PRODUCTS = ("first", "deep", "point", "last")


@pytest.fixture
def error(zoo, tmp_path, load, image_data):
    """Error of the answers with some products in float; the model has biases and per-channel weights."""
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    context = PassContext(work_directory=tmp_path, calibration=image_data)
    step = make_pass(PassSpec.of("quantize_static"))
    whole = onnx.load(step.run(source.path, tmp_path / "q.onnx", context, source.description).path)
    prepare(source.path, tmp_path / "p.onnx", source.description, image_data, lambda text: None)
    prepared = onnx.load(tmp_path / "p.onnx")
    expected = answers(source.path, source.description, image_data)

    def measured(*names):
        (tmp_path / "t.onnx").write_bytes(with_float_nodes(whole, prepared, names).SerializeToString())
        return output_error(answers(tmp_path / "t.onnx", source.description, image_data), expected)

    return measured


@pytest.mark.parametrize("name", PRODUCTS)
def test_any_product_can_be_taken_back_alone(error, name):
    assert 0 < error(name) < 1.2 * error()


def test_all_taken_back_is_nearer_than_none(error):
    # What is left is the rounding of values between other operators.
    assert error(*PRODUCTS) < 0.8 * error()
