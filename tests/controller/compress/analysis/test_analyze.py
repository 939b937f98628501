from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from edgeloop.compress.analysis import Analysis, analyze
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import from_json, to_json


def test_counts_times_and_weights(zoo, tmp_path, load):
    found = analyze(load(zoo.cnn(tmp_path / "m.onnx")), {"x": zoo.images(1)})
    assert found.macs == sum(layer.macs for layer in found.layers)
    assert found.weight_bytes == 4 * found.model.parameter_count
    assert sum(layer.time_share for layer in found.layers) == pytest.approx(1)
    assert all(layer.duration_s >= 0 for layer in found.layers)
    assert sum(layer.duration_s for layer in found.layers) > 0
    assert [w.shape for w in found.weights] == [(8, 3, 3, 3), (8, 1, 3, 3), (16, 8, 1, 1), (10, 16)]
    # The builder spreads the channels: one scale for all of them costs accuracy.
    for weight in found.weights:
        assert weight.int8_channel_sqnr_db > weight.int8_tensor_sqnr_db + 1
    assert found.notes == ()
    assert found.recommendations[0].reason
    assert any("ConvInteger" in s.reason for s in found.skipped)


def test_statistics_of_known_numbers(zoo, tmp_path, load):
    path = zoo.cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    values = np.zeros((10, 16), np.float32)
    values[0, 0] = 8.0
    values[:, 1] = 1.0
    for tensor in model.graph.initializer:
        if tensor.name == "w4":
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w4"))
    path.write_bytes(model.SerializeToString())
    (weight,) = [w for w in analyze(load(path)).weights if w.name == "w4"]
    assert weight.zero_fraction == pytest.approx(149 / 160)
    assert weight.kurtosis > 50


def test_it_survives_json(zoo, tmp_path, load):
    found = analyze(load(zoo.lstm(tmp_path / "m.onnx")))
    text = json.dumps(to_json(found))
    assert from_json(text, Analysis) == found
    assert "synthetic" in found.notes[0]


def test_what_cannot_be_run_is_absent_with_the_reason(tmp_path, zoo, load):
    from onnx import helper

    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    path = zoo.save(
        tmp_path / "m.onnx", [node], [zoo.value("x", [1, 6]), zoo.value("shape", [2], zoo.INT64)],
        [zoo.value("y", ["a", "b"])],
    )  # fmt: skip
    found = analyze(load(path))
    assert found.macs is None
    assert found.layers == ()
    assert found.notes[0].startswith("the model was not run: ")
    with pytest.raises(InvalidInputError):
        analyze(load(path), {"x": np.ones((1, 6), np.float32), "shape": np.array([5, 5])})


def test_loops_and_branches(zoo, tmp_path, load):
    assert analyze(load(zoo.looping(tmp_path / "l.onnx", trips=3))).macs == 3 * 16
    assert analyze(load(zoo.branching(tmp_path / "b.onnx"))).macs in (32, 48)


def test_a_real_model(load, magika_path):
    found = analyze(load(magika_path))
    heaviest = max(found.layers, key=lambda layer: layer.macs)
    assert heaviest.kernel_class == "conv"
    assert {r.label for r in found.recommendations} >= {"graph optimised", "dynamic int8"}
