from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgeloop.compress.analysis import analyze
from edgeloop.compress.analysis.sensitivity import layer_sensitivity
from edgeloop.domain.dataset import Dataset


@pytest.fixture
def source(zoo, tmp_path, load):
    """Two products; of the second one nothing reaches the answer but a thousandth."""
    small = onnx.numpy_helper.from_array(np.float32(1e-3), "small")
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["h"]),
        onnx.helper.make_node("MatMul", ["x", "b"], ["g"]),
        onnx.helper.make_node("Mul", ["g", "small"], ["s"]),
        onnx.helper.make_node("Add", ["h", "s"], ["y"]),
    ]
    weights = [zoo.weight((16, 8), "a", 1), zoo.weight((16, 8), "b", 2), small]
    return load(
        zoo.save(tmp_path / "m.onnx", nodes, [zoo.value("x", ["n", 16])], [zoo.value("y", ["n", 8])], weights)
    )


def test_fewer_bits_cost_more_and_what_hardly_matters_costs_little(source, rng):
    data = Dataset(name="d", inputs={"x": rng.standard_normal((8, 16)).astype(np.float32)})
    found = {layer.name: layer for layer in layer_sensitivity(source.path, source.description, data)}
    first, second = found["a"], found["b"]
    assert first.element_share == second.element_share == 0.5
    assert 0 < first.int8_error < 0.02 < first.int4_error < first.int2_error
    assert first.half_pruned_error > first.int4_error
    assert second.int2_error < 0.01 * first.int2_error
    assert analyze(source, None, data).sensitivity == tuple(found.values())
    assert analyze(source).sensitivity == ()


def test_redundancy_of_known_matrices(zoo, tmp_path, load, rng):
    turn = np.linspace(0, np.pi, 32, endpoint=False)
    rank_two = np.linalg.qr(rng.standard_normal((64, 2)))[0] @ np.stack([np.cos(turn), np.sin(turn)])
    rank_two[:, 5] = 1e-9
    pruned = rng.standard_normal((32, 32)) * (rng.uniform(size=(32, 32)) > 0.8)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "low"], ["h"]),
        onnx.helper.make_node("MatMul", ["h", "pruned"], ["y"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)
        for name, array in (("low", rank_two), ("pruned", pruned))
    ]
    path = zoo.save(
        tmp_path / "m.onnx", nodes, [zoo.value("x", ["n", 64])], [zoo.value("y", ["n", 32])], weights
    )
    found = analyze(load(path))
    low, other = found.weights
    assert low.energy_rank_share == 2 / 32
    assert low.weak_channel_share == 1 / 32
    assert other.energy_rank_share > 0.4
    assert other.zero_fraction == pytest.approx(0.8, abs=0.05)
    assert low.int4_block_sqnr_db == pytest.approx(23, abs=6)
    assert {"fp16", "int4 at rest"} <= {r.label for r in found.recommendations}
    dense = analyze(load(zoo.cnn(tmp_path / "c.onnx")))
    assert not any("pruned already" in note for note in dense.notes)


def test_a_pruned_model_is_recognised(zoo, tmp_path, load):
    path = zoo.cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.ndim > 1:
            values.reshape(-1)[::2] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path.write_bytes(model.SerializeToString())
    assert "50 % of its weights are zero: it is pruned already" in analyze(load(path)).notes[-1]
