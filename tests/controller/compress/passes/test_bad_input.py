"""Every pass on input that it cannot use: one sentence that names what is at fault, and what to try."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from edgeloop.compress.passes import BUILTIN, REGISTRY, make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.training.base import ModulePass
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import EdgeloopError, InternalError
from onnx import helper

TRAINS = {name for name in BUILTIN if issubclass(REGISTRY.load(name), ModulePass)}


def idle(zoo, path):
    """Nothing that holds a parameter."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "r"], ["y"])]
    return zoo.save(path, nodes, [zoo.value("x", ["n", 4])], [zoo.value("y", ["n", 4])])


def strange(zoo, path):
    """A product whose result goes through an operator that nobody knows."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("FastThing", ["p"], ["y"], name="thing", domain="acme"),
    ]
    weights = [zoo.weight((64, 64), "w", 1)]
    inputs, outputs = [zoo.value("x", ["n", 64])], [zoo.value("y", ["n", 64])]
    return zoo.save(path, nodes, inputs, outputs, weights, domains={"acme": 1})


def half(zoo, path):
    """A product in float16."""
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float16), "w")
    kind = onnx.TensorProto.FLOAT16
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    inputs, outputs = [zoo.value("x", ["n", 64], kind)], [zoo.value("y", ["n", 64], kind)]
    return zoo.save(path, [node], inputs, outputs, [weight])


MODELS = {
    "cnn": lambda zoo, path: zoo.cnn(path),
    "old": lambda zoo, path: zoo.cnn(path, opset=6),
    "mlp": lambda zoo, path: zoo.mlp(path),
    "tree": lambda zoo, path: zoo.tree(path),
    "idle": idle,
    "strange": strange,
    "half": half,
}

NO_DATA, OTHER_NAME, OTHER_SHAPE, OTHER_TYPE, NOT_FINITE = "none", "name", "shape", "type", "nan"


def items(zoo, kind):
    if kind == NO_DATA:
        return None
    images = zoo.images(4)
    arrays = {
        OTHER_NAME: {"picture": images},
        OTHER_SHAPE: {"x": images[:, :2]},
        OTHER_TYPE: {"x": images.astype(np.float64)},
        NOT_FINITE: {"x": np.full_like(images, np.nan)},
    }
    return Dataset(name="photos", inputs=arrays[kind])


OPSET = "operator set 6"
MODULE = "there is no torch module to train"
UNKNOWN = "the operator FastThing of the domain acme"

#: pass, model, data, settings, what the sentence names, what it says to try
CASES = [
    ("code_tables", "cnn", NO_DATA, {}, "no Gather reads rows of a float32 table", "Lower elements_min"),
    ("code_tables", "old", NO_DATA, {}, OPSET, "operator set 13 to 21"),
    (
        "convert_fp16",
        "cnn",
        OTHER_NAME,
        {},
        "'photos' has the inputs picture; the model takes x",
        "Name the arrays",
    ),
    (
        "convert_fp16",
        "cnn",
        OTHER_SHAPE,
        {},
        "input 'x': an item of data 'photos' has the shape",
        "trained with",
    ),
    ("convert_fp16", "old", NO_DATA, {}, OPSET, "operator set 13 to 21"),
    ("convert_fp16", "strange", NO_DATA, {}, UNKNOWN, "standard operators"),
    ("convert_fp16", "idle", NO_DATA, {}, "it holds no parameters", "Leave the pass out"),
    ("convert_fp16", "half", NO_DATA, {}, "its parameters are fp16", "before it was converted"),
    ("convert_fp16", "cnn", NO_DATA, {"exclude": ["nobody"]}, "no node 'nobody'", "Its nodes are first"),
    ("distill", "cnn", NO_DATA, {}, MODULE, "returns (module, example inputs)"),
    ("drop_features", "cnn", NO_DATA, {}, "it has no summed trees", "Give a forest"),
    ("drop_identities", "cnn", NO_DATA, {}, "no Identity and no Dropout", "Leave the pass out"),
    ("export_module", "cnn", NO_DATA, {}, MODULE, "returns (module, example inputs)"),
    ("finetune", "cnn", NO_DATA, {}, MODULE, "returns (module, example inputs)"),
    ("fold_batch_norm", "cnn", NO_DATA, {}, "it has none", "Leave the pass out"),
    ("int4_at_rest", "idle", NO_DATA, {}, "no float32 weight has 1024 elements", "Lower elements_min"),
    (
        "int4_at_rest",
        "old",
        NO_DATA,
        {"elements_min": 64},
        "Gemm of operator set 6 (node 'last')",
        "Export the model",
    ),
    ("limit_depth", "cnn", NO_DATA, {}, "it has no summed trees", "Give a forest"),
    ("narrow_table", "cnn", NO_DATA, {}, "it is no nearest-neighbour model", "nearest-neighbour estimator"),
    ("optimize_graph", "cnn", OTHER_NAME, {}, "the inputs picture; the model takes x", "Name the arrays"),
    ("optimize_graph", "old", NO_DATA, {}, "Gemm of operator set 6 (node 'last')", "Export the model"),
    ("optimize_graph", "strange", NO_DATA, {}, UNKNOWN, "standard operators"),
    ("pack_nibbles", "cnn", NO_DATA, {}, "no integer weight of 4096 elements", "Put int4_at_rest"),
    ("prune_channels", "cnn", NO_DATA, {}, MODULE, "returns (module, example inputs)"),
    ("prune_forest", "cnn", NO_DATA, {}, "it has no summed trees", "Give a forest"),
    ("prune_weights", "cnn", NO_DATA, {}, MODULE, "returns (module, example inputs)"),
    ("quantize_aware", "cnn", NO_DATA, {}, MODULE, "returns (module, example inputs)"),
    (
        "quantize_dynamic",
        "cnn",
        OTHER_TYPE,
        {},
        "'photos' holds float64, the model takes float32",
        "Convert the array",
    ),
    ("quantize_dynamic", "old", NO_DATA, {}, OPSET, "operator set 13 to 21"),
    ("quantize_dynamic", "idle", NO_DATA, {}, "it has no MatMul, Gemm, LSTM", "Try quantize_static"),
    ("quantize_dynamic", "strange", NO_DATA, {}, UNKNOWN, "standard operators"),
    (
        "quantize_dynamic",
        "cnn",
        NO_DATA,
        {"op_types": ["Conv"]},
        "ConvInteger has no fast kernel",
        "quantize_static",
    ),
    (
        "quantize_int4",
        "cnn",
        NO_DATA,
        {"feedback": True},
        "feedback needs calibration data",
        "feedback: false",
    ),
    ("quantize_int4", "idle", NO_DATA, {}, "it has no MatMul or Gemm", "Try int4_at_rest"),
    ("quantize_int4", "old", NO_DATA, {}, OPSET, "operator set 13 to 21"),
    ("quantize_int4", "strange", NO_DATA, {}, UNKNOWN, "standard operators"),
    ("quantize_mixed", "cnn", NO_DATA, {}, "there is no calibration data", "Give --data"),
    ("quantize_mixed", "cnn", NOT_FINITE, {}, "none of the 4 calibration items", "Remove NaN"),
    ("quantize_nncf", "cnn", NO_DATA, {}, "there is no calibration data", "Give --data"),
    ("quantize_nncf", "tree", NO_DATA, {}, "its work is in ai.onnx.ml operators", "prune_forest"),
    ("quantize_static", "cnn", NO_DATA, {}, "there is no calibration data", "Give --data"),
    ("quantize_static", "cnn", NOT_FINITE, {}, "none of the 4 calibration items", "Remove NaN"),
    (
        "quantize_static",
        "cnn",
        OTHER_SHAPE,
        {},
        "input 'x': an item of data 'photos' has the shape",
        "trained with",
    ),
    ("quantize_static", "tree", NO_DATA, {}, "its work is in ai.onnx.ml operators", "prune_forest"),
    (
        "reduce_neighbours",
        "cnn",
        NO_DATA,
        {},
        "it is no nearest-neighbour model",
        "nearest-neighbour estimator",
    ),
]


def checked(error, named, tried):
    said = str(error)
    assert not isinstance(error, InternalError), said
    assert named in error.message
    assert tried in error.next_step
    assert "\n" not in said
    assert "Traceback" not in said
    assert len(said) < 500


@pytest.mark.parametrize(("name", "model", "data", "settings", "named", "tried"), CASES)
def test_one_sentence_names_the_fault_and_what_to_try(
    zoo, tmp_path, load, name, model, data, settings, named, tried
):
    source = load(MODELS[model](zoo, tmp_path / "m.onnx"))
    context = PassContext(work_directory=tmp_path, calibration=items(zoo, data))
    with pytest.raises(EdgeloopError) as caught:
        make_pass(PassSpec.of(name, **settings)).run(
            source.path, tmp_path / "out.onnx", context, source.description
        )
    checked(caught.value, named, tried)
    assert "m.onnx" in str(caught.value) or "photos" in str(caught.value) or settings


#: pass, function that builds the network, settings, what the sentence names, what it says to try
TRAINING_CASES = [
    (
        "export_module",
        "branching",
        {},
        "in forward: return super().forward(x) if",
        "without branches",
    ),
    ("export_module", "unwritten", {}, "aten.linalg_eig", "operators of ONNX"),
    ("prune_weights", "branching", {}, "data-dependent", "without branches"),
    ("quantize_aware", "branching", {}, "torch cannot trace what", "quantize_static"),
    ("prune_channels", "rigid", {}, "does not run with fewer", "Name the layers before that place"),
    (
        "finetune",
        "model",
        {"train": "wrong_labels"},
        "label 6 does not fit outputs",
        "Number the classes from 0",
    ),
    (
        "distill",
        "model",
        {"train": "wrong_labels"},
        "label 6 does not fit outputs",
        "Number the classes from 0",
    ),
    (
        "quantize_aware",
        "model",
        {"train": "wrong_labels"},
        "label 6 does not fit",
        "Number the classes from 0",
    ),
    (
        "prune_channels",
        "model",
        {"method": "taylor", "train": "wrong_labels"},
        "label 6 does not",
        "Number the classes",
    ),
    (
        "finetune",
        "model",
        {"train": "wrong_shape"},
        "[2, 3, 8, 8], do not go through",
        "shape of the example",
    ),
    (
        "prune_channels",
        "model",
        {"method": "taylor", "train": "wrong_shape"},
        "inputs of shape [18, 3, 8, 8]",
        "shape of",
    ),
    ("prune_channels", "model", {"method": "taylor", "train": "empty"}, "gave no batch", "iterated again"),
    (
        "prune_weights",
        "model",
        {"schedule": "linear", "train": "wrong_shape"},
        "inputs of shape [",
        "shape of",
    ),
    ("finetune", "model", {"train": "empty"}, "no items can be held back", "with --validate"),
    ("finetune", "model", {"train": "no_data"}, "no_data returned int", "(inputs, labels) as arrays"),
    ("distill", "model", {"layers": ["nowhere"], "kind": "feature"}, "no layer 'nowhere'", "It has first"),
]


@pytest.mark.needs_torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "network", "settings", "named", "tried"), TRAINING_CASES)
def test_passes_on_networks_name_the_place_or_the_data(
    trained_net, tmp_path, load, zoo, name, network, settings, named, tried
):
    from edgeloop.compress.training.module import build_trainable, save_trainable

    module = tmp_path / "module.pt"
    save_trainable(build_trainable(trained_net(network)), module)
    known = {field.name for field in dataclasses.fields(REGISTRY.load(name).settings_type)}
    given = {"train": "data", "threads": 1, "epochs": 1} | settings
    given = {
        key: trained_net(value) if key == "train" else value for key, value in given.items() if key in known
    }
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    context = PassContext(work_directory=tmp_path, module=module, original_module=module)
    with pytest.raises(EdgeloopError) as caught:
        make_pass(PassSpec.of(name, **given)).run(
            source.path, tmp_path / "out.onnx", context, source.description
        )
    checked(caught.value, named, tried)


def test_every_pass_is_in_the_table():
    assert {case[0] for case in CASES} == set(BUILTIN)
    assert {case[0] for case in TRAINING_CASES} == {"export_module", *TRAINS}
