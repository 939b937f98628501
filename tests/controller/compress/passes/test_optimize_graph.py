from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InternalError, UnsupportedError


def run(source, tmp_path, calibration=None, parity=None, **settings):
    notes = []
    context = PassContext(work_directory=tmp_path, calibration=calibration, parity=parity, log=notes.append)
    step = make_pass(PassSpec.of("optimize_graph", **settings))
    return step.run(source.path, tmp_path / "out.onnx", context, source.description), notes


def answer(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("tool", ["onnxruntime", "onnxslim", "onnxscript"])
def test_it_folds_and_answers_alike(zoo, tmp_path, load, image_data, tool):
    if tool != "onnxruntime":
        pytest.importorskip(tool)
    source = load(zoo.cnn(tmp_path / "m.onnx", constants=True))
    result, _ = run(source, tmp_path, image_data, tool=tool)
    after = onnx.load(result.path)
    assert not [n for n in after.graph.node if n.op_type == "Constant"]
    assert dict(result.description.opsets) == {"": 17}
    np.testing.assert_allclose(
        answer(result.path, zoo.images(3)), answer(source.path, zoo.images(3)), rtol=1e-4, atol=1e-5
    )


def test_extended_fuses_where_basic_does_not(zoo, tmp_path, load, image_data):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    basic, _ = run(source, tmp_path, image_data, level="basic")
    assert set(dict(basic.description.opsets)) == {""}
    before = {n.op_type for n in onnx.load(basic.path).graph.node}
    extended, notes = run(source, tmp_path, image_data, level="extended")
    fused = {n.op_type for n in onnx.load(extended.path).graph.node}
    assert "FusedConv" in fused - before
    assert set(dict(extended.description.opsets)) == {"", "com.microsoft"}
    assert "10 nodes became" in notes[0] or "9 nodes became" in notes[0]


def test_old_operator_sets_stay(zoo, tmp_path, load, image_data):
    result, _ = run(load(zoo.cnn(tmp_path / "m.onnx", opset=9)), tmp_path, image_data)
    assert dict(result.description.opsets)[""] == 9


def test_it_asks_the_tolerance_policy(zoo, tmp_path, load, image_data):
    asked = []

    def never(expected, actual, precision):
        asked.append(precision)
        return "the policy says no"

    with pytest.raises(InternalError, match="the policy says no"):
        run(load(zoo.cnn(tmp_path / "m.onnx")), tmp_path, image_data, parity=never)
    assert asked == ["fp32"]


def test_without_data_a_synthetic_input_verifies(zoo, tmp_path, load):
    result, notes = run(load(zoo.branching(tmp_path / "m.onnx")), tmp_path)
    assert len(notes) == 1
    assert result.description.operator_count("If") == 1


def test_state_and_several_inputs(zoo, tmp_path, load):
    data = Dataset(
        name="d",
        inputs={"tokens": np.ones((4, 7), np.int64), "side": np.ones((4, 8), np.float32)},
    )
    result, _ = run(load(zoo.two_inputs(tmp_path / "m.onnx")), tmp_path, data)
    assert [s.name for s in result.description.inputs] == ["tokens", "side"]


def test_old_files_that_list_their_parameters_as_inputs(zoo, tmp_path, load):
    """What is folded away must not come back as an input that nobody feeds."""
    nodes = [
        onnx.helper.make_node("Add", ["a", "b"], ["w"]),
        onnx.helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = [zoo.weight((4, 4), "a", 1), zoo.weight((4, 4), "b", 2)]
    inputs = [zoo.value("x", ["n", 4]), zoo.value("a", [4, 4]), zoo.value("b", [4, 4])]
    path = zoo.save(
        tmp_path / "m.onnx", nodes, inputs, [zoo.value("y", ["n", 4])], weights, opset=7, ir_version=3
    )
    result, _ = run(load(path), tmp_path)
    after = onnx.load(result.path)
    assert [i.name for i in after.graph.input] == ["x"]
    assert [n.op_type for n in after.graph.node] == ["MatMul"]
    assert dict(result.description.opsets) == {"": 7}


def encoder(zoo, path, heads=4, width=32):
    """Attention over [n, t, width] with a mask [n, t], as the published code of BERT is exported."""
    sizes = {"q": (width, width), "k": (width, width), "v": (width, width), "o": (width, width)}
    weights = [zoo.weight(shape, f"{name}w", i) for i, (name, shape) in enumerate(sizes.items())]
    weights += [zoo.weight((width,), f"{name}b", 9 + i) for i, name in enumerate(sizes)]
    numbers = {"heads": [heads], "size": [width // heads], "width": [width], "one": [1], "two": [2]}
    weights += [onnx.numpy_helper.from_array(np.array(v, np.int64), n) for n, v in numbers.items()]
    scalars = {
        "zero_at": np.int64(0),
        "one_at": np.int64(1),
        "full": np.float32(1),
        "far": np.float32(-10000),
    }
    scalars |= {"root": np.float32((width / heads) ** 0.5)}
    weights += [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in scalars.items()]
    weights += [onnx.numpy_helper.from_array(np.ones(width, np.float32), n) for n in ("g1", "g2")]
    weights += [onnx.numpy_helper.from_array(np.zeros(width, np.float32), n) for n in ("z1", "z2")]
    make, nodes = onnx.helper.make_node, []

    def add(kind, inputs, output, **attributes):
        nodes.append(make(kind, inputs, [output], name=output, **attributes))
        return output

    add("LayerNormalization", ["x", "g1", "z1"], "h", axis=-1)
    for axis in ("zero", "one"):
        add("Gather", [add("Shape", ["h"], f"shape_{axis}"), f"{axis}_at"], f"count_{axis}")

    def shape(end, name):
        counts = [add("Unsqueeze", [f"count_{a}", "zero"], f"{name}_{a}") for a in ("zero", "one")]
        return add("Concat", [*counts, *end], f"{name}_shape", axis=0)

    weights.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "zero"))
    for name in "qkv":
        product = add("MatMul", ["h", f"{name}w"], f"{name}p")
        parts = [add("Add", [f"{name}b", product], f"{name}a"), shape(["heads", "size"], name)]
        order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        add("Transpose", [add("Reshape", parts, f"{name}r")], f"{name}t", perm=order)
    wide = add("Unsqueeze", [add("Unsqueeze", ["mask", "one"], "m1"), "two"], "m2")
    kept = add("Sub", ["full", add("Cast", [wide], "m3", to=1)], "m4")
    scores = add("Div", [add("MatMul", ["qt", "kt"], "s1"), "root"], "s2")
    add("Softmax", [add("Add", [scores, add("Mul", [kept, "far"], "away")], "s3")], "s4", axis=-1)
    add("Transpose", [add("MatMul", ["s4", "vt"], "c1")], "c2", perm=[0, 2, 1, 3])
    joined = add("Reshape", ["c2", shape(["width"], "c")], "c3")
    made = add("Add", ["ob", add("MatMul", [joined, "ow"], "o1")], "o2")
    add("LayerNormalization", [add("Add", [made, "h"], "o3"), "g2", "z2"], "y", axis=-1)
    inputs = [zoo.value("x", ["n", "t", width]), zoo.value("mask", ["n", "t"], onnx.TensorProto.INT64)]
    return zoo.save(path, nodes, inputs, [zoo.value("y", ["n", "t", width])], weights)


def test_attention_becomes_one_operator_that_int8_knows(zoo, tmp_path, load, runner, rng):
    pytest.importorskip("sympy")
    source = load(encoder(zoo, tmp_path / "m.onnx"))
    x, mask = rng.standard_normal((6, 5, 32)).astype(np.float32), np.ones((6, 5), np.int64)
    mask[::2, 3:] = 0
    data = Dataset(name="texts", inputs={"x": x, "mask": mask})
    fused, _ = run(source, tmp_path, data, tool="transformers")
    kinds = [node.op_type for node in onnx.load(fused.path).graph.node]
    assert (kinds.count("Attention"), kinds.count("MatMul"), kinds.count("Softmax")) == (1, 1, 0)
    steps = (PassSpec.of("optimize_graph", tool="transformers"), PassSpec.of("quantize_dynamic"))
    result = runner(data).run(source, Recipe(label="int8", passes=steps))
    assert [stage.state for stage in result.stages] == ["applied"] * 2, result.notes
    kinds = [node.op_type for node in onnx.load(result.path).graph.node]
    assert kinds.count("QAttention") == 1
    assert "Attention" not in kinds


def test_a_model_without_attention_is_refused_by_the_tool_for_encoders(zoo, tmp_path, load, image_data):
    pytest.importorskip("sympy")
    with pytest.raises(UnsupportedError, match=r"has no attention.*Take the tool onnxruntime"):
        run(load(zoo.cnn(tmp_path / "m.onnx")), tmp_path, image_data, tool="transformers")
