from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding

KINDS = {"U": onnx.TensorProto.UINT8, "S": onnx.TensorProto.INT8}


def run(source, tmp_path, data, **settings):
    context = PassContext(work_directory=tmp_path, calibration=data)
    step = make_pass(PassSpec.of("quantize_static", **settings))
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def pairs(path):
    """Map each product to (scale, zero point) of its activation and of its weight."""
    model = onnx.load(path)
    held = {t.name: t for t in model.graph.initializer}
    made = {n.output[0]: n for n in model.graph.node}
    found = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            left, right = (made.get(name) for name in node.input[:2])
            if left is not None and right is not None and left.op_type == "DequantizeLinear":
                found[node.name] = tuple(
                    tuple(onnx.numpy_helper.to_array(held[name]) for name in pair.input[1:3])
                    for pair in (left, right)
                )
    return found


@pytest.fixture
def source(zoo, tmp_path, load):
    return load(zoo.cnn(tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("encoding", "per_channel"), list(itertools.product(["U8S8", "S8S8", "U8U8"], [True, False]))
)
def test_encoding_and_scales(zoo, tmp_path, source, image_data, encoding, per_channel):
    result = run(source, tmp_path, image_data, encoding=encoding, per_channel=per_channel)
    found = pairs(result.path)
    assert set(found) >= {"first", "deep", "point", "last"}
    kinds = {"U": np.uint8, "S": np.int8}
    channels = {"first": 8, "deep": 8, "point": 16, "last": 10}
    for name, ((_, zero), (scale, weight_zero)) in found.items():
        assert zero.dtype == kinds[encoding[0]]
        assert weight_zero.dtype == kinds[encoding[2]]
        assert scale.size == (channels[name] if per_channel else 1)
        if encoding == "S8S8":
            assert not zero.any()
        if encoding[2] == "S" or per_channel:
            assert len(set(weight_zero.reshape(-1).tolist())) == 1
    assert [s.dtype for s in (*result.description.inputs, *result.description.outputs)] == [
        "float32",
        "float32",
    ]
    session = onnxruntime.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    reference = onnxruntime.InferenceSession(str(source.path), providers=["CPUExecutionProvider"])
    x = zoo.images(4, seed=9)
    was, now = reference.run(None, {"x": x})[0], session.run(None, {"x": x})[0]
    assert 0 < np.linalg.norm(was - now) < 0.2 * np.linalg.norm(was)


def test_the_file_shrinks_and_holds_bytes(zoo, tmp_path, load, image_data):
    path = zoo.cnn(tmp_path / "m.onnx", constants=True)
    result = run(load(path), tmp_path, image_data)
    sizes = sorted(
        a.size for a in zoo.initializers(result.path).values() if a.dtype == np.int8 and a.size > 16
    )
    assert sizes == [72, 128, 160, 216]
    assert not [a for a in zoo.initializers(result.path).values() if a.dtype == np.float32 and a.size > 16]
    assert result.description.precision == "int8"


def test_ways_of_calibration_give_other_ranges(tmp_path, source, image_data):
    scales = {}
    for way in ("minmax", "percentile", "entropy"):
        made = run(source, tmp_path, image_data, calibration=way, percentile=99.0)
        scales[way] = float(pairs(made.path)["first"][0][0])
    # Outliers in the data: the percentile cuts them off, the plain range does not.
    assert scales["percentile"] < 0.8 * scales["minmax"]
    assert scales["entropy"] != scales["minmax"]
    assert scales["entropy"] != scales["percentile"]


def test_seven_bits(zoo, tmp_path, source, image_data):
    made = run(source, tmp_path, image_data, reduce_range=True)
    weights = [a for a in zoo.initializers(made.path).values() if a.dtype == np.int8 and a.size > 16]
    assert max(int(np.abs(a.astype(int)).max()) for a in weights) == 64


def test_excluded_products_stay_fp32(tmp_path, source, image_data):
    assert set(pairs(run(source, tmp_path, image_data, exclude_first=1).path)) == {"deep", "point", "last"}
    assert set(pairs(run(source, tmp_path, image_data, exclude_last=1).path)) == {"first", "deep", "point"}
    assert set(pairs(run(source, tmp_path, image_data, exclude=["point"]).path)) == {"first", "deep", "last"}
    with pytest.raises(
        InvalidInputError, match=r"no node 'pont' to exclude.*Its products are first, deep, point"
    ):
        run(source, tmp_path, image_data, exclude=["pont"])
    with pytest.raises(InvalidInputError, match="all 4 products"):
        run(source, tmp_path, image_data, exclude_first=9)


def test_a_bias_of_two_axes(zoo, tmp_path, load, rng):
    data = Dataset(name="d", inputs={"x": rng.standard_normal((16, 32)).astype(np.float32)})
    result = run(load(zoo.mlp(tmp_path / "m.onnx")), tmp_path, data)
    assert len(pairs(result.path)) == 2
    assert result.description.outputs[1].dtype == "int64"


def test_two_inputs_with_free_axes(zoo, tmp_path, load, rng):
    data = Dataset(
        name="d",
        inputs={
            "tokens": rng.integers(0, 50, (9, 5)),
            "side": rng.standard_normal((9, 8)).astype(np.float32),
        },
    )
    result = run(load(zoo.two_inputs(tmp_path / "m.onnx")), tmp_path, data)
    assert result.description.inputs[0].shape == (-1, -1)
    assert pairs(result.path)


def test_state_is_carried_during_calibration(zoo, tmp_path):
    """The state grows with every step; its range is that of the last step only if it was really fed back."""
    from edgeloop.compress.sources import load_source

    state = (StateBinding(input="state", output="next"),)
    source = load_source(str(zoo.stateful(tmp_path / "m.onnx")), tmp_path, state)

    def largest(steps):
        data = Dataset(name="d", inputs={"x": np.ones((3, steps, 1, 6), np.float32)}, state=state)
        made = run(source, tmp_path, data)
        return max(float(scale) for (scale, _), _ in pairs(made.path).values()) * 255

    assert largest(8) == pytest.approx(8 * largest(1), rel=0.1)


def test_calibration_needs_finite_items(tmp_path, source, zoo):
    x = zoo.images(3)
    x[:2] = np.nan
    result = run(source, tmp_path, Dataset(name="d", inputs={"x": x}))
    assert "over 1 items" in result.notes[-1]
    x[:] = np.inf
    with pytest.raises(InvalidInputError, match="none of the 3 calibration items of 'd' is finite"):
        run(source, tmp_path, Dataset(name="d", inputs={"x": x}))
    with pytest.raises(UnsupportedError, match="no calibration data"):
        run(source, tmp_path, None)


def test_data_that_does_not_fit(tmp_path, source):
    with pytest.raises(InvalidInputError, match="data 'd' has the inputs z; the model takes x"):
        run(source, tmp_path, Dataset(name="d", inputs={"z": np.zeros((2, 3), np.float32)}))
    with pytest.raises(InvalidInputError, match=r"'d' holds float64, the model takes float32"):
        run(source, tmp_path, Dataset(name="d", inputs={"x": np.zeros((2, 3, 16, 16))}))
    with pytest.raises(InvalidInputError, match=r"shape \(1, 3, 8, 8\), the model takes \(-1, 3, 16, 16\)"):
        run(source, tmp_path, Dataset(name="d", inputs={"x": np.zeros((2, 3, 8, 8), np.float32)}))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 21])
def test_any_operator_set(zoo, tmp_path, load, image_data, opset):
    result = run(load(zoo.cnn(tmp_path / "m.onnx", opset)), tmp_path, image_data)
    assert dict(result.description.opsets)[""] == max(13, opset)
    assert len(pairs(result.path)) == 4


def test_trees_and_subgraph_only_models_are_refused(zoo, tmp_path, load):
    two = Dataset(name="d", inputs={"x": np.zeros((2, 2), np.float32)})
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.ml operators"):
        run(load(zoo.tree(tmp_path / "t.onnx")), tmp_path, two)
    four = Dataset(name="d", inputs={"x": np.ones((2, 4), np.float32)})
    with pytest.raises(UnsupportedError, match=r"inside of If, Loop or Scan"):
        run(load(zoo.looping(tmp_path / "l.onnx")), tmp_path, four)


def test_products_beside_an_if_are_quantised(zoo, tmp_path, load, rng):
    data = Dataset(name="d", inputs={"x": rng.standard_normal((6, 4)).astype(np.float32)})
    result = run(load(zoo.branching(tmp_path / "m.onnx")), tmp_path, data)
    assert result.description.operator_count("If") == 1
    assert len(pairs(result.path)) == 1


def test_a_real_model(tmp_path, load, rng, magika_path):
    data = Dataset(name="d", inputs={"bytes": rng.integers(0, 257, (4, 2048)).astype(np.int32)})
    source = load(magika_path)
    result = run(source, tmp_path, data)
    assert result.description.size_bytes < 0.35 * source.description.size_bytes
