from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import UnsupportedError


def run(source, tmp_path):
    context = PassContext(work_directory=tmp_path)
    step = make_pass(PassSpec.of("fold_batch_norm"))
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def normalised(zoo, path, kind, shape, read_twice=False, **attributes):
    channels = shape[1] * attributes.get("group", 1) if kind == "ConvTranspose" else shape[0]
    rng = np.random.default_rng(3)
    statistics = [
        onnx.numpy_helper.from_array(values.astype(np.float32), name)
        for name, values in (
            ("scale", rng.uniform(0.5, 2, channels)),
            ("offset", rng.standard_normal(channels)),
            ("mean", rng.standard_normal(channels)),
            ("variance", rng.uniform(0.2, 3, channels)),
        )
    ]
    nodes = [
        onnx.helper.make_node(kind, ["x", "w"], ["c"], name="product", **attributes),
        onnx.helper.make_node("BatchNormalization", ["c", "scale", "offset", "mean", "variance"], ["n"]),
        onnx.helper.make_node("Add", ["n", "c" if read_twice else "n"], ["y"]),
    ]
    inputs = shape[1] if kind == "Gemm" else 4
    side = [] if kind == "Gemm" else [6, 6]
    return zoo.save(
        path,
        nodes,
        [zoo.value("x", ["batch", inputs, *side])],
        [zoo.value("y", ["batch", channels, *(["h", "w"] if side else [])])],
        [zoo.weight(shape, "w", 1), *statistics],
    )


@pytest.mark.parametrize(
    ("kind", "shape", "attributes"),
    [
        ("Conv", (8, 4, 3, 3), {}),
        ("Conv", (8, 1, 3, 3), {"group": 4}),
        ("ConvTranspose", (4, 3, 2, 2), {"group": 2}),
        ("Gemm", (8, 4), {"transB": 1}),
    ],
)
def test_it_is_gone_and_the_answers_stay(zoo, tmp_path, load, rng, kind, shape, attributes):
    source = load(normalised(zoo, tmp_path / "m.onnx", kind, shape, **attributes))
    result = run(source, tmp_path)
    assert [n.op_type for n in onnx.load(result.path).graph.node] == [kind, "Add"]
    assert set(zoo.initializers(result.path)) == {"n_weight", "n_bias"}
    dims = [2, 4, 6, 6] if kind != "Gemm" else [2, shape[1]]
    feed = {"x": rng.standard_normal(dims).astype(np.float32)}
    was, now = (onnxruntime.InferenceSession(str(p)).run(None, feed)[0] for p in (source.path, result.path))
    np.testing.assert_allclose(now, was, rtol=1e-4, atol=1e-4)


def test_what_has_another_reader_stays(zoo, tmp_path, load):
    path = normalised(zoo, tmp_path / "m.onnx", "Conv", (8, 4, 3, 3), read_twice=True)
    with pytest.raises(UnsupportedError, match="none of its 1 follows a Conv, ConvTranspose or Gemm alone"):
        run(load(path), tmp_path)
    with pytest.raises(UnsupportedError, match="it has none"):
        run(load(zoo.cnn(tmp_path / "c.onnx")), tmp_path)
