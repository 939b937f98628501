from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError


def run(source, tmp_path, data=None, **settings):
    step = make_pass(PassSpec.of("convert_fp16", **settings))
    context = PassContext(work_directory=tmp_path, calibration=data)
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def answer(path, feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def test_parameters_are_halves_and_the_answers_stay(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    result = run(source, tmp_path, image_data)
    assert result.description.precision == "fp16"
    assert result.description.inputs[0].dtype == "float32"
    kinds = {a.dtype for a in zoo.initializers(result.path).values() if a.size > 16}
    assert kinds == {np.dtype(np.float16)}
    was, now = answer(source.path, {"x": zoo.images(3)}), answer(result.path, {"x": zoo.images(3)})
    assert 0 < np.linalg.norm(now - was) < 2e-3 * np.linalg.norm(was)


def overflowing(zoo, path):
    """The middle product reaches 1e6, which no half holds; the first one is harmless."""
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["h"], name="front"),
        onnx.helper.make_node("MatMul", ["h", "big"], ["g"], name="huge"),
        onnx.helper.make_node("MatMul", ["g", "small"], ["y"], name="tame"),
    ]
    weights = [
        zoo.weight((16, 16), "a", 1),
        onnx.numpy_helper.from_array(np.full((16, 16), 4e4, np.float32), "big"),
        onnx.numpy_helper.from_array((np.eye(16) * 1e-3).astype(np.float32), "small"),
    ]
    return zoo.save(path, nodes, [zoo.value("x", ["n", 16])], [zoo.value("y", ["n", 16])], weights)


def test_nodes_that_overflow_stay_float32_by_name(zoo, tmp_path, load):
    source = load(overflowing(zoo, tmp_path / "m.onnx"))
    data = Dataset(name="d", inputs={"x": np.full((4, 16), 3.0, np.float32)})
    result = run(source, tmp_path, data)
    assert "huge" in result.notes[-1]
    held = zoo.initializers(result.path)
    assert held["a"].dtype == np.float16
    assert held["big"].dtype == np.float32
    feed = {"x": np.full((2, 16), 3.0, np.float32)}
    np.testing.assert_allclose(answer(result.path, feed), answer(source.path, feed), rtol=2e-2)


def test_excluded_nodes_stay_float32(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    result = run(source, tmp_path, image_data, exclude=["deep"])
    kept = [n for n, a in zoo.initializers(result.path).items() if a.dtype == np.float32 and a.size > 16]
    assert kept == ["w2"]


def test_bad_input(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    with pytest.raises(UnsupportedError, match=r"not one of its \d+ nodes keeps .* 1e-09.*Raise tolerance"):
        run(source, tmp_path, image_data, tolerance=1e-9)
    with pytest.raises(InvalidInputError, match="no node 'dep' to exclude"):
        run(source, tmp_path, image_data, exclude=["dep"])
    with pytest.raises(InvalidInputError, match="above 0 and below 1"):
        run(source, tmp_path, image_data, tolerance=2.0)
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.ml"):
        run(load(zoo.tree(tmp_path / "t.onnx")), tmp_path)
    half = run(source, tmp_path, image_data)
    (tmp_path / "half.onnx").write_bytes(half.path.read_bytes())
    with pytest.raises(UnsupportedError, match="its parameters are fp16"):
        run(load(tmp_path / "half.onnx"), tmp_path, image_data)
