from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import UnsupportedError


def run(source, tmp_path, **settings):
    context = PassContext(work_directory=tmp_path)
    step = make_pass(PassSpec.of("quantize_dynamic", **settings))
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def answer(path, feeds):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@pytest.mark.parametrize(("weight_type", "dtype"), [("int8", np.int8), ("uint8", np.uint8)])
def test_products_carry_integers_of_the_chosen_type(zoo, tmp_path, load, rng, weight_type, dtype):
    source = load(zoo.mlp(tmp_path / "m.onnx"))
    result = run(source, tmp_path, weight_type=weight_type)
    held = [a for a in zoo.initializers(result.path).values() if a.dtype == dtype and a.size > 1]
    assert sorted(a.size for a in held) == [64 * 4, 32 * 64]
    assert result.description.size_bytes < source.description.size_bytes / 2
    x = rng.standard_normal((5, 32)).astype(np.float32)
    was, found = answer(source.path, {"x": x})[0], answer(result.path, {"x": x})[0]
    assert 0 < np.abs(was - found).max() < 0.05 * np.abs(was).max()  # alpha, beta and the bias are kept


def test_seven_bits_are_seven_bits(zoo, tmp_path, load):
    source = load(zoo.mlp(tmp_path / "m.onnx"))
    whole = run(source, tmp_path)
    largest = max(
        np.abs(a.astype(int)).max() for a in zoo.initializers(whole.path).values() if a.dtype == np.int8
    )
    assert largest == 127
    half = run(source, tmp_path, reduce_range=True)
    largest = max(
        np.abs(a.astype(int)).max() for a in zoo.initializers(half.path).values() if a.dtype == np.int8
    )
    assert largest <= 64


def test_a_recurrent_layer(zoo, tmp_path, load):
    result = run(load(zoo.lstm(tmp_path / "m.onnx")), tmp_path)
    assert {n.op_type for n in onnx.load(result.path).graph.node} >= {"DynamicQuantizeLSTM"}


def test_convolutions_are_refused_with_the_reason(zoo, tmp_path, load):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    with pytest.raises(
        UnsupportedError, match=r"ConvInteger has no fast kernel: measured 0\.40x on MobileNetV2"
    ):
        run(source, tmp_path, op_types=["Conv"])
    result = run(source, tmp_path)
    counts = dict(result.description.operator_counts)
    assert counts["Conv"] == 3
    assert "ConvInteger" not in counts


def test_what_carries_no_constant_weights_is_refused(tmp_path, zoo, load):
    from onnx import helper

    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    path = zoo.save(
        tmp_path / "m.onnx",
        [node],
        [zoo.value("a", ["n", 4]), zoo.value("b", [4, 4])],
        [zoo.value("y", ["n", 4])],
    )
    with pytest.raises(
        UnsupportedError, match="none of its MatMul, Gemm, LSTM, Attention nodes carries constant"
    ):
        run(load(path), tmp_path)
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.ml"):
        run(load(zoo.tree(tmp_path / "t.onnx")), tmp_path)


def test_quantised_models_are_not_quantised_again(zoo, tmp_path, load):
    first = run(load(zoo.mlp(tmp_path / "m.onnx")), tmp_path)
    again = tmp_path / "again.onnx"
    again.write_bytes(first.path.read_bytes())
    with pytest.raises(UnsupportedError, match="quantised already"):
        run(load(again), tmp_path)


@pytest.mark.parametrize("kind", ["constants", "sparse", "external", "old", "oldest"])
def test_weights_are_found_wherever_they_stand(zoo, tmp_path, load, kind):
    path = tmp_path / "m.onnx"
    made = {
        "constants": lambda: zoo.cnn(path, constants=True),
        "sparse": lambda: zoo.sparse(path),
        "external": lambda: zoo.external(path),
        "old": lambda: zoo.cnn(path, opset=9),
        "oldest": lambda: zoo.cnn(path, opset=7),
    }[kind]()
    result = run(load(made), tmp_path)
    assert [a.size for a in zoo.initializers(result.path).values() if a.dtype == np.int8 and a.size > 1]
    assert dict(result.description.opsets)[""] >= 13
