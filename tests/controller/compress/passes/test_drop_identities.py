from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import UnsupportedError


def run(source, tmp_path):
    context = PassContext(work_directory=tmp_path)
    step = make_pass(PassSpec.of("drop_identities"))
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def test_idle_nodes_go_and_promised_names_stay(zoo, tmp_path, load):
    node = onnx.helper.make_node
    nodes = [
        node("Identity", ["x"], ["a"]),
        node("Dropout", ["a", "", "no"], ["b"]),
        node("Relu", ["b"], ["c"]),
        node("Identity", ["c"], ["d"]),
        node("Identity", ["d"], ["y"]),
        node("Dropout", ["c", "half", "yes"], ["noisy"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.array(value), name)
        for name, value in (("no", False), ("yes", True), ("half", np.float32(0)))
    ]
    outputs = [zoo.value("y", ["n", 4]), zoo.value("noisy", ["n", 4])]
    path = zoo.save(tmp_path / "m.onnx", nodes, [zoo.value("x", ["n", 4])], outputs, weights)
    result = run(load(path), tmp_path)
    kept = onnx.load(result.path).graph.node
    # The last Identity gives an output of the model; a Dropout that is training is not idle.
    assert [n.op_type for n in kept] == ["Relu", "Identity", "Dropout"]
    assert kept[0].input[0] == "x"
    assert kept[1].input[0] == "c"
    assert result.notes == ("removal of identities: 3 nodes taken out",)


def test_subgraphs_read_what_went_in(zoo, tmp_path, load):
    path = zoo.branching(tmp_path / "m.onnx")
    model = onnx.load(path)
    first = model.graph.node[0]
    first.output[0] = "raw"
    model.graph.node.insert(1, onnx.helper.make_node("Identity", ["raw"], ["h"]))
    path.write_bytes(model.SerializeToString())
    result = run(load(path), tmp_path)
    branches = next(n for n in onnx.load(result.path).graph.node if n.op_type == "If").attribute
    assert all("raw" in {name for n in entry.g.node for name in n.input} for entry in branches)


def test_nothing_to_do_is_said(zoo, tmp_path, load):
    with pytest.raises(UnsupportedError, match="no Identity and no Dropout"):
        run(load(zoo.cnn(tmp_path / "m.onnx")), tmp_path)
