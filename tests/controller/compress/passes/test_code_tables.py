from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError


def run(source, tmp_path, **settings):
    step = make_pass(PassSpec.of("code_tables", **settings))
    context = PassContext(work_directory=tmp_path)
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def answer(path, ids):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": ids})[0]


def looked_up(zoo, path, *, rows=1500, columns=64, rank=2, constant=False):
    """Embeddings looked up and multiplied; the table is an initializer, or a Constant node."""
    table, weight = zoo.weight((rows, columns), "table", 1), zoo.weight((columns, 96), "w", 2)
    nodes = [
        onnx.helper.make_node("Gather", ["table", "ids"], ["e"]),
        onnx.helper.make_node("MatMul", ["e", "w"], ["y"]),
    ]
    held = [table, weight]
    if constant:
        nodes.insert(0, onnx.helper.make_node("Constant", [], ["table"], value=table))
        held = [weight]
    axes = ["n", "t", "u"][:rank]
    inputs = [zoo.value("ids", axes, onnx.TensorProto.INT64)]
    return zoo.save(path, nodes, inputs, [zoo.value("y", [*axes, 96])], held)


@pytest.mark.parametrize(("rank", "columns", "constant"), [(1, 64, False), (2, 63, True), (3, 64, False)])
def test_rows_come_out_nearly_as_they_were_whatever_the_ids_rank(
    zoo, tmp_path, load, rng, rank, columns, constant
):
    path = tmp_path / "m.onnx"
    source = load(looked_up(zoo, path, columns=columns, rank=rank, constant=constant))
    result = run(source, tmp_path, size=2)
    ids = rng.integers(-1500, 1500, (4, 5, 3)[:rank])
    was, now = answer(source.path, ids), answer(result.path, ids)
    assert now.shape == was.shape
    assert 0.01 < np.linalg.norm(now - was) / np.linalg.norm(was) < 0.2


def test_a_table_in_bytes_is_a_fraction_and_nothing_is_expanded_at_load(zoo, tmp_path, load):
    source = load(looked_up(zoo, tmp_path / "m.onnx", rows=2100, columns=32))
    sizes = [run(source, tmp_path, size=size).description.size_bytes for size in (2, 4)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < source.description.size_bytes / 3
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), options, providers=["CPUExecutionProvider"])
    assert (tmp_path / "loaded.onnx").stat().st_size < 1.1 * sizes[1]


def test_products_can_be_quantised_after_it(zoo, tmp_path, load, runner, rng):
    source = load(looked_up(zoo, tmp_path / "m.onnx"))
    steps = (PassSpec.of("code_tables"), PassSpec.of("quantize_dynamic"))
    made = runner().run(source, Recipe(label="both", passes=steps))
    kinds = {node.op_type for node in onnx.load(made.path).graph.node}
    assert {"Gather", "MatMulInteger"} <= kinds
    ids = rng.integers(0, 1500, (4, 5))
    was, now = answer(source.path, ids), answer(made.path, ids)
    assert np.linalg.norm(now - was) / np.linalg.norm(was) < 0.4


def test_bad_input(zoo, tmp_path, load):
    with pytest.raises(UnsupportedError, match="no Gather reads rows of a float32 table with 65536 elements"):
        run(load(zoo.mlp(tmp_path / "l.onnx")), tmp_path)
    with pytest.raises(UnsupportedError, match="no Gather reads rows"):
        run(load(looked_up(zoo, tmp_path / "s.onnx", rows=200)), tmp_path, elements_min=256)
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.ml"):
        run(load(zoo.tree(tmp_path / "t.onnx")), tmp_path)
    with pytest.raises(InvalidInputError, match="size is 2, 3, 4, not '5'"):
        run(load(zoo.mlp(tmp_path / "l.onnx")), tmp_path, size=5)
    with pytest.raises(InvalidInputError, match="elements_min is 256 or more, not 4"):
        run(load(zoo.mlp(tmp_path / "l.onnx")), tmp_path, elements_min=4)


def test_a_table_that_something_else_reads_stays(zoo, tmp_path, load):
    path = looked_up(zoo, tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("ReduceSum", ["table"], ["sum"], keepdims=0))
    model.graph.output.append(zoo.value("sum", []))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="no Gather reads rows"):
        run(load(path), tmp_path)
