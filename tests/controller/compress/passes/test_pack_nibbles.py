from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

FOUR = PassSpec.of("int4_at_rest", scales="channel")
STATIC = PassSpec.of("quantize_static")


def wide(zoo, path, width=511):
    """Two products; the odd width leaves half a byte over."""
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["h"], name="front"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("MatMul", ["r", "b"], ["y"], name="back"),
    ]
    weights = [zoo.weight((65, width), "a", 1), zoo.weight((width, 10), "b", 2)]
    return zoo.save(path, nodes, [zoo.value("x", ["n", 65])], [zoo.value("y", ["n", 10])], weights)


def answer(path, x, level="all"):
    options = onnxruntime.SessionOptions()
    if level == "none":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def made(zoo, tmp_path, load, runner, rng):
    """The int8 form of four-bit weights, and the same with the pass after it."""
    data = Dataset(name="d", inputs={"x": rng.standard_normal((16, 65)).astype(np.float32)})
    source = load(wide(zoo, tmp_path / "m.onnx"))
    before = runner(data).run(source, Recipe(label="before", passes=(FOUR, STATIC)))
    after = runner(data).run(
        source, Recipe(label="after", passes=(FOUR, STATIC, PassSpec.of("pack_nibbles")))
    )
    return before, after


def test_every_bit_of_the_answers_stays_and_the_file_is_nearly_half(made, rng):
    before, after = made
    x = rng.standard_normal((7, 65)).astype(np.float32)
    for level in ("all", "none"):
        assert np.array_equal(answer(before.path, x, level), answer(after.path, x, level))
    saved = before.path.stat().st_size - after.path.stat().st_size
    assert saved > 0.45 * (65 * 511 + 511 * 10) - 2000


def test_the_runtime_computes_in_the_same_fused_int8_kernels(made, tmp_path):
    kinds = []
    for form in made:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
        onnxruntime.InferenceSession(str(form.path), options, providers=["CPUExecutionProvider"])
        kinds.append(sorted(node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node))
    assert kinds[0] == kinds[1]
    assert "QLinearMatMul" in kinds[0]


def test_weights_of_more_values_and_float_models_are_refused(zoo, tmp_path, load, runner, rng):
    data = Dataset(name="d", inputs={"x": rng.standard_normal((16, 65)).astype(np.float32)})
    plain = runner(data).run(load(wide(zoo, tmp_path / "m.onnx")), Recipe(label="plain", passes=(STATIC,)))
    (tmp_path / "plain.onnx").write_bytes(plain.path.read_bytes())
    step = make_pass(PassSpec.of("pack_nibbles"))
    context = PassContext(work_directory=tmp_path)
    for path in (tmp_path / "plain.onnx", zoo.mlp(tmp_path / "l.onnx")):
        source = load(path)
        with pytest.raises(UnsupportedError, match=r"no integer weight of 4096 elements.*int4_at_rest"):
            step.run(source.path, tmp_path / "out.onnx", context, source.description)
    with pytest.raises(InvalidInputError, match="elements_min is 1024 or more, not 5"):
        make_pass(PassSpec.of("pack_nibbles", elements_min=5))
