from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgeloop.compress.describe import describe
from edgeloop.compress.prepare import prepare, upgrade
from edgeloop.domain.dataset import Dataset
from edgeloop_foundation.errors import UnsupportedError
from onnx import helper


def run(path, tmp_path, data=None):
    notes = []
    prepare(path, tmp_path / "prepared.onnx", describe(path), data, notes.append)
    return onnx.load(tmp_path / "prepared.onnx"), notes


def test_constants_of_every_kind_become_initializers(zoo, tmp_path):
    model, _ = run(zoo.cnn(tmp_path / "a.onnx", constants=True), tmp_path)
    assert len(model.graph.initializer) == 6
    assert not [n for n in model.graph.node if n.op_type == "Constant"]
    model, _ = run(zoo.sparse(tmp_path / "b.onnx"), tmp_path)
    (tensor,) = model.graph.initializer
    dense = onnx.numpy_helper.to_array(tensor)
    assert dense.shape == (4, 4)
    assert dense[1, 2] == 2.0
    assert not model.graph.sparse_initializer


def test_an_old_operator_set_is_upgraded_and_said_so(zoo, tmp_path, image_data):
    model, notes = run(zoo.cnn(tmp_path / "m.onnx", opset=7), tmp_path, image_data)
    assert model.opset_import[0].version == 13
    assert "upgraded from operator set 7 to 13 to be quantised" in notes
    assert [i.name for i in model.graph.input] == ["x"]


def test_what_cannot_be_upgraded_is_refused(tmp_path):
    proto = onnx.ModelProto(ir_version=4)
    proto.opset_import.add(domain="", version=9)
    proto.graph.name = "g"
    proto.graph.node.append(helper.make_node("Conv", ["x", "w"], ["y"]))  # no inputs, no outputs, no weight
    with pytest.raises(UnsupportedError, match=r"odd has operator set 9, which cannot be upgraded to 13: .*"):
        upgrade(proto, "odd", print)


def test_local_functions_are_inlined(tmp_path):
    body = helper.make_function(
        "own",
        "Double",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    node = helper.make_node("Double", ["x"], ["y"], domain="own")
    values = [helper.make_tensor_value_info(name, 1, ["n"]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=[body], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert describe(path).operator_count("Add") == 1
    found, _ = run(path, tmp_path)
    assert [n.op_type for n in found.graph.node] == ["Add"]
    assert not found.functions


@pytest.mark.parametrize("kind", ["branching", "looping"])
def test_subgraphs_stay(zoo, tmp_path, kind):
    data = Dataset(name="d", inputs={"x": np.ones((3, 4), np.float32)})
    model, _ = run(getattr(zoo, kind)(tmp_path / "m.onnx"), tmp_path, data)
    assert {"If", "Loop"} & {n.op_type for n in model.graph.node}
