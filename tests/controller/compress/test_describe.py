from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.compress.describe import describe
from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec
from onnx import helper

CNN_PARAMETERS = 8 * 3 * 9 + 8 + 8 * 9 + 16 * 8 + 160 + 10


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
@pytest.mark.parametrize("constants", [False, True])
def test_parameters_are_counted_wherever_they_stand(zoo, tmp_path, opset, constants):
    found = describe(zoo.cnn(tmp_path / "m.onnx", opset, constants))
    assert found.parameter_count == CNN_PARAMETERS
    assert [s.name for s in found.inputs] == [
        "x"
    ]  # initializers that old files list as inputs are not inputs
    assert found.inputs[0] == TensorSpec(name="x", dtype="float32", shape=(-1, 3, 16, 16))
    assert dict(found.opsets)[""] == opset
    assert found.precision == "fp32"
    assert found.operator_count("Conv") == 3


def test_external_data_is_part_of_size_and_digest(zoo, tmp_path):
    path = zoo.external(tmp_path / "m.onnx")
    before = describe(path)
    data = tmp_path / "weights/Big File.bin"
    assert before.size_bytes == path.stat().st_size + data.stat().st_size
    assert before.parameter_count == CNN_PARAMETERS
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert describe(path).digest != before.digest


def test_a_plain_files_digest_is_its_sha256(zoo, tmp_path):
    path = zoo.cnn(tmp_path / "m.onnx")
    assert describe(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_subgraphs_and_attributes_count(zoo, tmp_path):
    branching = describe(zoo.branching(tmp_path / "if.onnx"))
    assert branching.operator_count("MatMul") == 3
    assert branching.parameter_count == 16 + 1 + 32 + 16
    assert describe(zoo.looping(tmp_path / "loop.onnx")).operator_count("MatMul") == 1
    assert describe(zoo.sparse(tmp_path / "sparse.onnx")).parameter_count == 3
    assert describe(zoo.tree(tmp_path / "tree.onnx")).parameter_count > 0


def test_precision_follows_the_bytes(zoo, tmp_path):
    path = zoo.cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.from_array(
            onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name
        )
        tensor.CopyFrom(half)
    path.write_bytes(model.SerializeToString())
    assert describe(path).precision == "fp16"


def test_state_is_checked(zoo, tmp_path):
    path = zoo.stateful(tmp_path / "m.onnx")
    good = describe(path, state=(StateBinding(input="state", output="next"),))
    assert good.state[0].output == "next"
    with pytest.raises(InvalidInputError, match="its outputs are y, next"):
        describe(path, state=(StateBinding(input="state", output="nothing"),))


def test_an_output_without_type_is_completed(tmp_path):
    node = helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.INT64)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, ["n"])], [onnx.ValueInfoProto(name="y")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert describe(path).outputs[0].dtype == "int64"


def test_maps_are_refused_with_advice(zoo, tmp_path):
    with pytest.raises(UnsupportedError, match=r"output 'maps' of t\.onnx is a sequence.*ZipMap"):
        describe(zoo.tree(tmp_path / "t.onnx", zipmap=True))


@pytest.mark.parametrize(
    "content", [b"", b"hello world, this is text", b"\x00" * 64, b"PK\x03\x04" + b"\x00" * 60]
)
def test_other_files_are_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"m\.onnx is not an ONNX model") as caught:
        describe(path)
    assert "\n" not in str(caught.value)


def test_a_cut_off_model_is_refused(zoo, tmp_path):
    path = zoo.cnn(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidInputError, match="is not"):
        describe(path)


def test_missing_and_straying_external_data(zoo, tmp_path):
    path = zoo.external(tmp_path / "m.onnx")
    model = onnx.load(path, load_external_data=False)
    (tmp_path / "weights/Big File.bin").unlink()
    with pytest.raises(NotFoundError, match="Big File"):
        describe(path)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../secret.bin"
    path.write_bytes(model.SerializeToString())
    Path(tmp_path.parent / "secret.bin").write_bytes(b"x" * 9000)
    with pytest.raises(InvalidInputError, match="outside of its directory"):
        describe(path)
