from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from edgeloop.compress.lowering import lower
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InvalidInputError


def products(lowering):
    return [k for k in lowering.kernels if k.macs]


def test_multiply_accumulates_of_a_cnn(zoo, tmp_path):
    found = lower(zoo.cnn(tmp_path / "m.onnx"), {"x": zoo.images(1)})
    pixels = 16 * 16
    expected = {
        "conv": 8 * 3 * 9 * pixels,
        "depthwise": 8 * 9 * pixels,
        "conv1x1": 16 * 8 * pixels,
        "gemm": 160,
    }
    assert {k.kernel_class: k.macs for k in products(found)} == expected
    first = products(found)[0]
    assert (first.input_channels, first.output_channels, first.output_positions) == (3, 8, pixels)
    assert first.input_bytes == 4 * 3 * pixels
    assert first.weight_bytes == 4 * (8 * 3 * 9 + 8)
    assert first.output_bytes == 4 * 8 * pixels
    assert found.precision == "fp32"
    # The widest moment: one buffer of 8 and one of 16 channels.
    assert found.activation_peak_bytes >= 4 * (8 + 16) * pixels
    assert found.activation_peak_bytes <= 4 * (3 + 8 + 8 + 16) * pixels


def test_constant_nodes_and_old_opsets_lower_alike(zoo, tmp_path):
    feeds = {"x": zoo.images(1)}
    tables = [
        [(k.kernel_class, k.macs, k.weight_bytes) for k in products(lower(path, feeds))]
        for path in (
            zoo.cnn(tmp_path / "a.onnx"),
            zoo.cnn(tmp_path / "b.onnx", constants=True),
            zoo.cnn(tmp_path / "c.onnx", opset=7),
            zoo.external(tmp_path / "d.onnx"),
        )
    ]
    assert tables[0] == tables[1] == tables[2] == tables[3]


def test_recurrent_layer(zoo, tmp_path):
    found = lower(zoo.lstm(tmp_path / "m.onnx"), {"x": np.zeros((5, 1, 12), np.float32)})
    (kernel,) = products(found)
    assert kernel.kernel_class == "recurrent"
    assert kernel.macs == 5 * (64 * 12 + 64 * 16)
    assert (kernel.input_channels, kernel.output_channels) == (12, 16)


def test_only_the_branch_that_runs_counts(zoo, tmp_path):
    path = zoo.branching(tmp_path / "m.onnx")
    wide = lower(path, {"x": np.ones((1, 4), np.float32)})
    narrow = lower(path, {"x": -np.ones((1, 4), np.float32)})
    assert wide.macs == 16 + 32
    assert narrow.macs == 16 + 16


def test_a_loop_counts_each_iteration(zoo, tmp_path):
    found = lower(zoo.looping(tmp_path / "m.onnx", trips=5), {"x": np.ones((2, 4), np.float32)})
    assert found.macs == 5 * 2 * 16
    assert Counter(k.kernel_class for k in found.kernels)["matmul"] == 5
    assert all(k.weight_bytes == 64 for k in products(found))


def test_gemm_depth_with_transposes(zoo, tmp_path):
    found = lower(zoo.mlp(tmp_path / "m.onnx"), {"x": np.ones((1, 32), np.float32)})
    assert sorted(k.macs for k in products(found)) == [64 * 4, 32 * 64]


@pytest.mark.parametrize("encoding", ["U8S8", "S8S8", "U8U8"])
def test_encodings_are_seen(zoo, tmp_path, load, runner, image_data, encoding):
    recipe = Recipe(label="q", passes=(PassSpec.of("quantize_static", encoding=encoding),))
    made = runner(image_data).run(load(zoo.cnn(tmp_path / "m.onnx")), recipe)
    found = lower(made.path, {"x": zoo.images(1)})
    assert {k.encoding for k in products(found)} == {encoding}
    assert {k.precision for k in products(found)} == {"int8"}
    assert found.precision == "int8"
    assert "depthwise" in {k.kernel_class for k in products(found)}


def test_dynamic_products_are_int8_and_the_rest_is_not(zoo, tmp_path, load, runner):
    recipe = Recipe(label="q", passes=(PassSpec.of("quantize_dynamic"),))
    made = runner().run(load(zoo.cnn(tmp_path / "m.onnx")), recipe)
    found = lower(made.path, {"x": zoo.images(1)})
    assert {k.kernel_class: k.precision for k in products(found)}["conv"] == "fp32"
    assert {k.encoding for k in products(found) if k.precision == "int8"} == {"U8S8"}
    assert found.precision == "mixed"


def test_wrong_feeds_are_one_sentence(zoo, tmp_path):
    with pytest.raises(InvalidInputError, match=r"m\.onnx fails on the data"):
        lower(zoo.cnn(tmp_path / "m.onnx"), {"x": np.zeros((1, 4), np.float32)})


def test_a_real_model(magika_path):
    found = lower(magika_path, {"bytes": np.zeros((1, 2048), np.int32)})
    assert found.macs > 1e8
    assert found.weight_bytes > 3e6
    assert found.weight_bytes <= magika_path.stat().st_size
    assert {"conv", "matmul", "gemm"} <= {k.kernel_class for k in found.kernels}
