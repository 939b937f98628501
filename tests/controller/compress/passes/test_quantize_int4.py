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


def run(source, tmp_path, **settings):
    step = make_pass(PassSpec.of("quantize_int4", **settings))
    context = PassContext(work_directory=tmp_path)
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def answer(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def products(zoo, path, *, gemm):
    """A wide product as Gemm with a transposed weight, or as MatMul, with a number of rows that no block divides."""
    weight, bias = zoo.weight((256, 200), "w", 1), zoo.weight((256,), "b", 2)
    if gemm:
        node = onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="g", transB=1, alpha=2.0, beta=0.5)
        return zoo.save(
            path, [node], [zoo.value("x", ["n", 200])], [zoo.value("y", ["n", 256])], [weight, bias]
        )
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    return zoo.save(path, [node], [zoo.value("x", ["n", 256])], [zoo.value("y", ["n", 200])], [weight])


@pytest.mark.parametrize("gemm", [True, False])
def test_products_hold_four_bits_and_answer_nearly_alike(zoo, tmp_path, load, rng, gemm):
    source = load(products(zoo, tmp_path / "m.onnx", gemm=gemm))
    result = run(source, tmp_path)
    assert {n.op_type for n in onnx.load(result.path).graph.node} >= {"MatMulNBits"}
    assert result.description.size_bytes < source.description.size_bytes / 5
    x = rng.standard_normal((4, 200 if gemm else 256)).astype(np.float32)
    was, now = answer(source.path, x), answer(result.path, x)
    assert 0.02 < np.linalg.norm(now - was) / np.linalg.norm(was) < 0.15


def test_smaller_blocks_are_nearer(zoo, tmp_path, load, rng):
    source = load(products(zoo, tmp_path / "m.onnx", gemm=False))
    x = rng.standard_normal((16, 256)).astype(np.float32)
    errors = [
        np.linalg.norm(answer(run(source, tmp_path, block_size=size).path, x) - answer(source.path, x))
        for size in (16, 128)
    ]
    assert errors[0] < errors[1]


def test_errors_fed_back_keep_the_answers_nearer_on_inputs_that_hang_together(zoo, tmp_path, load, rng):
    source = load(products(zoo, tmp_path / "m.onnx", gemm=False))
    # Real activations are correlated: 256 inputs that follow 24 causes.
    causes = rng.standard_normal((24, 256))
    x = (rng.standard_normal((400, 24)) @ causes + 0.1 * rng.standard_normal((400, 256))).astype(np.float32)
    known, held_back = x[:300], x[300:]
    was = answer(source.path, held_back)
    plain = answer(run(source, tmp_path).path, held_back)
    step = make_pass(PassSpec.of("quantize_int4", feedback=True, items=300))
    context = PassContext(work_directory=tmp_path, calibration=Dataset(name="d", inputs={"x": known}))
    made = step.run(source.path, tmp_path / "back.onnx", context, source.description)
    assert any(note.endswith("error fed back in 1") for note in made.notes)
    errors = [np.linalg.norm(now - was) for now in (answer(made.path, held_back), plain)]
    assert errors[0] < 0.7 * errors[1]


def test_errors_are_fed_back_from_data_alone(zoo, tmp_path, load):
    source = load(products(zoo, tmp_path / "m.onnx", gemm=False))
    with pytest.raises(UnsupportedError, match="feedback needs calibration data, and there is none"):
        run(source, tmp_path, feedback=True)
    with pytest.raises(InvalidInputError, match="items is 1 or more, not 0"):
        run(source, tmp_path, items=0)


def test_bad_input(zoo, tmp_path, load):
    with pytest.raises(UnsupportedError, match=r"no float32|constant float32 matrix of 32 rows"):
        run(load(zoo.cnn(tmp_path / "m.onnx")), tmp_path)
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.ml"):
        run(load(zoo.tree(tmp_path / "t.onnx")), tmp_path)
    with pytest.raises(InvalidInputError, match="block_size is 16, 32, 64 or 128, not 48"):
        run(load(zoo.mlp(tmp_path / "l.onnx")), tmp_path, block_size=48)
    with pytest.raises(InvalidInputError, match="no node 'nowhere' to exclude"):
        run(load(zoo.mlp(tmp_path / "l.onnx")), tmp_path, exclude=["nowhere"])


def test_a_file_that_does_not_shrink_is_refused(zoo, tmp_path, load):
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="small"),
        onnx.helper.make_node("Gather", ["table", "i"], ["e"]),
        onnx.helper.make_node("Add", ["h", "e"], ["y"]),
    ]
    weights = [zoo.weight((32, 32), "w", 1), zoo.weight((9000, 32), "table", 2)]
    inputs = [zoo.value("x", ["n", 32]), zoo.value("i", ["n"], onnx.TensorProto.INT64)]
    path = zoo.save(tmp_path / "m.onnx", nodes, inputs, [zoo.value("y", ["n", 32])], weights)
    with pytest.raises(UnsupportedError, match=r"the file would go from \d+ to \d+ bytes.*int4_at_rest"):
        run(load(path), tmp_path)


def test_a_quantised_model_is_not_quantised_again(zoo, tmp_path, load):
    first = run(load(products(zoo, tmp_path / "m.onnx", gemm=True)), tmp_path)
    (tmp_path / "again.onnx").write_bytes(first.path.read_bytes())
    with pytest.raises(UnsupportedError, match="quantised already"):
        run(load(tmp_path / "again.onnx"), tmp_path)
