from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgeloop.compress.packed import pack
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_foundation.packed import expand


def run(source, tmp_path, **settings):
    step = make_pass(PassSpec.of("int4_at_rest", **settings))
    context = PassContext(work_directory=tmp_path)
    return step.run(source.path, tmp_path / "out.onnx", context, source.description)


def wide(zoo, path, width=512):
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["h"], name="front"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("MatMul", ["r", "b"], ["y"], name="back"),
    ]
    weights = [zoo.weight((64, width), "a", 1), zoo.weight((width, 10), "b", 2)]
    return zoo.save(path, nodes, [zoo.value("x", ["n", 64])], [zoo.value("y", ["n", 10])], weights)


def test_each_block_has_sixteen_values_and_the_error_is_that_of_four_bits(zoo, tmp_path, load):
    source = load(wide(zoo, tmp_path / "m.onnx"))
    result = run(source, tmp_path)
    for name in ("a", "b"):
        before, after = zoo.initializers(source.path)[name], zoo.initializers(result.path)[name]
        blocks = after.reshape(-1, 32)
        assert max(len(np.unique(block)) for block in blocks) <= 16
        error = np.linalg.norm(after - before) / np.linalg.norm(before)
        # 16 levels over some four standard deviations: about 0.1; two bits would be 0.4, eight 0.006.
        assert 0.03 < error < 0.13
    assert result.description.precision == "fp32"


def test_the_packed_form_is_a_seventh_and_expands_bit_for_bit(zoo, tmp_path, load):
    result = run(load(wide(zoo, tmp_path / "m.onnx")), tmp_path)
    packed = tmp_path / "model.packed"
    assert pack(result.path, packed)
    data = result.path.read_bytes()
    assert packed.stat().st_size < len(data) / 6.5
    pieces = [packed.read_bytes()[i : i + 977] for i in range(0, packed.stat().st_size, 977)]
    assert b"".join(expand(pieces, len(data))) == data


def test_full_precision_is_not_packed(zoo, tmp_path):
    assert not pack(wide(zoo, tmp_path / "m.onnx"), tmp_path / "model.packed")
    assert not (tmp_path / "model.packed").exists()


def test_scales_a_channel_survive_a_static_int8_pass(zoo, tmp_path, load, runner, rng):
    from edgeloop.domain.dataset import Dataset

    data = Dataset(name="d", inputs={"x": rng.standard_normal((16, 64)).astype(np.float32)})
    source = load(wide(zoo, tmp_path / "m.onnx"))
    static = PassSpec.of("quantize_static")
    steps = (PassSpec.of("int4_at_rest", scales="channel"), static)
    both = runner(data).run(source, Recipe(label="both", passes=steps))
    plain = runner(data).run(source, Recipe(label="plain", passes=(static,)))
    assert pack(both.path, tmp_path / "both.packed")
    assert not pack(plain.path, tmp_path / "plain.packed")
    # A byte a weight in both; four bits of it travel.
    assert (tmp_path / "both.packed").stat().st_size < 0.6 * plain.path.stat().st_size


def test_a_share_takes_the_largest_weights_alone(zoo, tmp_path, load):
    source = load(wide(zoo, tmp_path / "m.onnx"))
    # "a" has 86 % of the elements.
    result = run(source, tmp_path, share=0.5)
    before, after = zoo.initializers(source.path), zoo.initializers(result.path)
    assert not np.array_equal(before["a"], after["a"])
    assert np.array_equal(before["b"], after["b"])
    both = zoo.initializers(run(source, tmp_path, share=0.9).path)
    assert not np.array_equal(before["b"], both["b"])


def test_a_channel_with_one_long_weight_is_cut_where_that_helps(zoo, tmp_path, load, rng):
    from edgeloop.compress.fourbit import channel_grid

    values = rng.standard_normal((4, 4096)).astype(np.float32)
    made = channel_grid(values, 0)
    error = ((made - values) ** 2).mean()
    scales = np.abs(values).max(axis=1, keepdims=True) / 7
    assert error < 0.9 * ((np.rint(values / scales) * scales - values) ** 2).mean()
    # What int8 takes its scale from is on the grid still: 15 values, the largest of them met.
    assert all(len(np.unique(row)) <= 15 for row in made)
    assert np.allclose(
        np.abs(made).max(axis=1) / 7, [np.diff(np.unique(row)).min() for row in made], rtol=1e-5
    )


def test_it_is_not_done_twice(zoo, tmp_path, load):
    first = run(load(wide(zoo, tmp_path / "m.onnx")), tmp_path)
    again = tmp_path / "again.onnx"
    again.write_bytes(first.path.read_bytes())
    with pytest.raises(UnsupportedError, match="its weights are on such grids already"):
        run(load(again), tmp_path)


def test_bad_input(zoo, tmp_path, load):
    with pytest.raises(UnsupportedError, match=r"no float32 weight has 100000 elements.*Lower elements_min"):
        run(load(wide(zoo, tmp_path / "m.onnx")), tmp_path, elements_min=100000)
    with pytest.raises(InvalidInputError, match="elements_min is 32 or more, not 4"):
        run(load(wide(zoo, tmp_path / "m.onnx")), tmp_path, elements_min=4)
    with pytest.raises(InvalidInputError, match="share is above 0 and at most 1, not 0"):
        run(load(wide(zoo, tmp_path / "m.onnx")), tmp_path, share=0.0)
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.ml"):
        run(load(zoo.tree(tmp_path / "t.onnx")), tmp_path)
    model = onnx.load(wide(zoo, tmp_path / "n.onnx"))
    values = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "a"))
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInputError, match=r"weight 'a' of n\.onnx holds NaN.*put 'a' into exclude"):
        run(load(tmp_path / "n.onnx"), tmp_path)


@pytest.mark.parametrize("kind", ["constants", "external"])
def test_weights_are_found_wherever_they_stand(zoo, tmp_path, load, kind):
    path = tmp_path / "m.onnx"
    made = zoo.cnn(path, constants=True) if kind == "constants" else zoo.external(path)
    result = run(load(made), tmp_path, elements_min=64)
    assert result.description.parameter_count == load(made).description.parameter_count
    assert "4 weights" in result.notes[0] or "5 weights" in result.notes[0]
