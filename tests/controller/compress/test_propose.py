from __future__ import annotations

import dataclasses

import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.propose import propose
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts


def device(*flags, max_opset=None):
    return Facts(
        device_id="d",
        name="d",
        hardware=Hardware(architecture="x", isa_flags=flags, logical_cores=4, memory_total_bytes=1 << 30),
        operating_system=OperatingSystem(name="l", kernel="k", python_version="3.11"),
        runtimes=(RuntimeFacts(name="onnxruntime", version="1", max_opset=max_opset),),
    )


def settings(recipe):
    return dict(recipe.passes[0].settings)


def test_a_cnn_gets_the_whole_spread(zoo, tmp_path, load):
    model = load(zoo.cnn(tmp_path / "m.onnx")).description
    found = propose(model, [device("avx2")], True)
    assert found.recipes[0].passes == ()
    assert 6 <= len(found.recipes) <= 9
    static = [settings(r) for r in found.recipes if r.passes and r.passes[0].name == "quantize_static"]
    assert {s["encoding"] for s in static} == {"U8S8", "S8S8", "U8U8"}
    assert {s.get("calibration", "minmax") for s in static} == {"minmax", "percentile"}
    assert "time" in next(s.reason for s in found.skipped if "entropy" in s.label)
    assert {s.get("per_channel", True) for s in static} == {True, False}
    assert any(s.get("reduce_range") for s in static)
    assert any("ConvInteger" in s.reason for s in found.skipped if "dynamic" in s.label)
    assert len({r.label for r in found.recipes}) == len(found.recipes)
    assert len({r.digest for r in found.recipes}) == len(found.recipes)
    for recipe in found.recipes:
        for step in recipe.passes:
            make_pass(step)


@pytest.mark.parametrize(
    ("flags", "wanted"), [(("avx512_vnni",), False), (("asimddp",), False), (("asimd",), True)]
)
def test_seven_bits_only_where_sums_can_saturate(zoo, tmp_path, load, flags, wanted):
    found = propose(load(zoo.cnn(tmp_path / "m.onnx")).description, [device(*flags)], True)
    assert any("7-bit" in r.label for r in found.recipes) is wanted


def test_products_get_dynamic_int8_even_without_data(zoo, tmp_path, load):
    found = propose(load(zoo.mlp(tmp_path / "m.onnx")).description, [], False)
    assert [r.passes[0].name for r in found.recipes[1:]] == [
        "optimize_graph",
        "quantize_dynamic",
        "quantize_dynamic",
    ]
    assert {s.reason for s in found.skipped} == {"there is no calibration data"}
    recurrent = propose(load(zoo.lstm(tmp_path / "l.onnx")).description, [], True)
    assert any(r.label.startswith("dynamic") for r in recurrent.recipes)
    assert any("has no Conv, ConvTranspose, Gemm, MatMul" in s.reason for s in recurrent.skipped)


def test_trees_and_quantised_models_stay_as_they_are(zoo, tmp_path, load):
    tree = propose(load(zoo.tree(tmp_path / "t.onnx")).description, [], True)
    assert [r.label for r in tree.recipes] == ["original", "graph optimised"]
    assert all("ai.onnx.ml" in s.reason for s in tree.skipped)
    model = dataclasses.replace(load(zoo.cnn(tmp_path / "m.onnx")).description, quantized=True)
    done = propose(model, [], True)
    assert all(s.reason == "the model is quantised already" for s in done.skipped)


def test_an_operator_set_that_no_device_loads(zoo, tmp_path, load):
    model = dataclasses.replace(load(zoo.cnn(tmp_path / "m.onnx")).description, opsets=(("", 23),))
    found = propose(model, [device()], True)
    assert [r.label for r in found.recipes] == ["original"]
    assert all("operator set 23, the newest that a device loads is 21" in s.reason for s in found.skipped)
    assert len(propose(model, [device(max_opset=24)], True).recipes) > 5


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("forest", {"prune_forest", "limit_depth", "drop_features"}),
        ("nearest", {"narrow_table", "reduce_neighbours"}),
    ],
)
def test_classical_models_get_forms_of_their_own(tmp_path, load, kind, names):
    pytest.importorskip("sklearn", reason="install it: pip install 'edgeloop[classic]'")
    import numpy as np
    from edgeloop.compress.classic import estimator_to_onnx
    from edgeloop.compress.graph import save_model
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    rows = np.random.default_rng(0).normal(size=(60, 4))
    estimator = RandomForestClassifier(4) if kind == "forest" else KNeighborsClassifier(3)
    save_model(estimator_to_onnx(estimator.fit(rows, rows[:, 0] > 0), kind), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx").description
    found = propose(model, [device("avx2")], True)
    applied = {step.name for recipe in found.recipes for step in recipe.passes}
    assert (
        applied & {"prune_forest", "limit_depth", "drop_features", "narrow_table", "reduce_neighbours"}
        == names
    )
    assert all(
        make_pass(step).ensures.approximate for r in found.recipes for step in r.passes if step.name in names
    )
    without = propose(model, [device("avx2")], False)
    reasons = {skipped.label: skipped.reason for skipped in without.skipped}
    if kind == "forest":
        assert reasons["half of the trees"] == "there is no calibration data"
    else:
        assert {r.label for r in without.recipes} >= {"int8 table", "a tenth as prototypes"}


def test_other_models_hear_nothing_of_forests(zoo, tmp_path, load):
    found = propose(load(zoo.cnn(tmp_path / "m.onnx")).description, [device("avx2")], True)
    said = {r.label for r in found.recipes} | {s.label for s in found.skipped}
    assert not said & {"half of the trees", "depth 6", "int8 table", "a quarter as prototypes"}
