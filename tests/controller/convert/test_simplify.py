"""The model made plain for a converter is the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.convert.simplify import simplify
from edgeloop_foundation.errors import InvalidInputError


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    return np.asarray(found)


def interface(path: Path) -> list[tuple[str, int, list[int]]]:
    graph = onnx.load(path).graph
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    ]


@pytest.mark.parametrize(
    ("name", "item", "output"),
    [("images", (1, 8, 8, 8), (1, 8, 8, 8)), ("shape_arithmetic", (1, 3, 4, 4), (1, 5))],
)
def test_answers_and_interface_stay_and_the_source_is_only_read(
    name: str, item: tuple[int, ...], output: tuple[int, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(name)
    before = source.read_bytes()
    target = tmp_path / "plain.onnx"
    simplify(source, target)
    assert source.read_bytes() == before
    assert interface(target) == [("x", 1, list(item)), ("y", 1, list(output))]
    onnx.checker.check_model(onnx.load(target), full_check=True)
    x = np.random.default_rng(5).standard_normal(item).astype(np.float32)
    np.testing.assert_allclose(answer(target, x), answer(source, x), rtol=1e-5, atol=1e-6)
    assert {path.name for path in tmp_path.glob("*.onnx")} == {source.name, target.name}


def test_shape_arithmetic_is_folded(shape_arithmetic: Path, tmp_path: Path) -> None:
    simplify(shape_arithmetic, tmp_path / "plain.onnx")
    made = onnx.load(tmp_path / "plain.onnx")
    assert not {"Shape", "Slice", "Concat"} & {node.op_type for node in made.graph.node}
    assert {entry.domain for entry in made.opset_import} == {""}


def test_an_output_with_channels_ends_in_its_own_shape(images: Path, tmp_path: Path) -> None:
    simplify(images, tmp_path / "plain.onnx")
    graph = onnx.load(tmp_path / "plain.onnx").graph
    (last,) = [node for node in graph.node if "y" in node.output]
    shape = next(onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name == last.input[1])
    assert last.op_type == "Reshape"
    assert shape.tolist() == [1, 8, 8, 8]


def test_who_else_reads_an_output_reads_it_in_its_own_shape(read_twice: Path, tmp_path: Path) -> None:
    simplify(read_twice, tmp_path / "plain.onnx")
    graph = onnx.load(tmp_path / "plain.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    assert makers["y"].op_type == "Reshape"
    assert [node.op_type for node in graph.node if makers["y"].input[0] in node.input] == ["Reshape"]
    onnx.checker.check_model(onnx.load(tmp_path / "plain.onnx"))


def test_weights_beside_the_model_come_inside(images: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside" / "model.onnx"
    beside.parent.mkdir()
    onnx.save(onnx.load(images), beside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    target = tmp_path / "elsewhere" / "plain.onnx"
    target.parent.mkdir()
    simplify(beside, target)
    x = np.ones((1, 8, 8, 8), np.float32)
    np.testing.assert_allclose(answer(target, x), answer(images, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"not a model at all"])
def test_what_is_no_model_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"^broken\.onnx cannot be simplified: [^\n]+\.$"):
        simplify(path, tmp_path / "plain.onnx")


def test_an_operator_that_nobody_knows_is_one_sentence(images: Path, tmp_path: Path) -> None:
    model = onnx.load(images)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(
        InvalidInputError, match=r"^broken\.onnx cannot be simplified: [^\n]*NoSuchOperator[^\n]*\.$"
    ):
        simplify(tmp_path / "broken.onnx", tmp_path / "plain.onnx")
