from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InternalError


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
