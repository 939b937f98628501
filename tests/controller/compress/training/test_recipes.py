"""Whole recipes with passes that train, on a network that is really trained."""

from __future__ import annotations

import pytest
from edgeloop.compress.build import BuildRequest, build_candidate
from edgeloop.compress.items import write_items
from edgeloop.compress.recipe_file import given_settings, shipped_recipe
from edgeloop.compress.sources import load_source
from edgeloop.compress.training.data import load_held
from edgeloop.compress.training.judge import Judge, load_loss
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec, Recipe

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.needs_torch]


@pytest.fixture
def source(trained_net, tmp_path):
    return load_source(trained_net("model"), tmp_path / "source")


@pytest.fixture
def judge(trained_net):
    return Judge(held=load_held("", trained_net("validation"), 0), loss=load_loss(""))


@pytest.fixture
def images(source, judge):
    return Dataset(name="images", inputs={source.description.inputs[0].name: judge.held.inputs[0][:64]})


def given(recipe, trained_net, **more):
    data = {"train": trained_net("data"), "validate": trained_net("validation"), "threads": 1}
    return given_settings(recipe, {**data, "learning_rate": 0.05, **more})


def test_the_hybrid_recipe_is_smaller_and_as_good(source, judge, images, runner, trained_net):
    pytest.importorskip("torch_pruning", reason="the package torch-pruning is not installed")
    recipe = given(shipped_recipe("hybrid"), trained_net, batch_size=64)
    result = runner(images).run(source, recipe)
    assert [s.state for s in result.stages] == ["applied"] * 3, result.notes
    assert result.description.quantized
    assert result.description.parameter_count < source.description.parameter_count / 3
    assert judge.of_file(result.path) > 0.95 * judge.of_file(source.path)
    again = runner(images).run(source, recipe)
    assert [s.state for s in again.stages] == ["resumed"] * 3
    assert again.path == result.path


def test_a_candidate_says_what_is_wrong_with_its_data(source, images, trained_net, tmp_path):
    write_items(tmp_path / "golden.npz", images)
    request = BuildRequest(
        source=source,
        recipe=Recipe(label="r", passes=(PassSpec.of("finetune", train=trained_net("wrong_labels")),)),
        golden_path=tmp_path / "golden.npz",
        cache_directory=tmp_path / "cache",
        evaluator="edgeloop.evaluate.inference:run_model",
        tolerances="edgeloop.parity.tolerance:tolerances_for",
        golden_writer="edgeloop.parity.golden:write_golden",
    )
    built = build_candidate(request)
    assert built.state.value == "failed"
    assert "label 6 does not fit outputs of shape" in built.reason
    assert "\n" not in built.reason


@pytest.mark.heavy
@pytest.mark.parametrize("trained", [True, False])
def test_int8_that_was_learnt_is_int8_and_as_good(source, judge, runner, trained_net, trained):
    pytest.importorskip("torchao", reason="the package torchao is not installed")
    recipe = Recipe(label="q", passes=(PassSpec.of("quantize_aware", trained=trained, epochs=1),))
    result = runner().run(source, given(recipe, trained_net))
    assert [s.state for s in result.stages] == ["applied"], result.notes
    assert result.description.quantized
    assert judge.of_file(result.path) > 0.97 * judge.of_file(source.path)


@pytest.mark.heavy
@pytest.mark.parametrize("label", ["pruning", "distillation", "distillation by features", "progressive"])
def test_recipes_that_come_along_keep_what_they_say(source, judge, images, runner, trained_net, label):
    pytest.importorskip("torch_pruning", reason="the package torch-pruning is not installed")
    result = runner(images).run(source, given(shipped_recipe(label), trained_net, block=4, batch_size=64))
    assert result.applied, result.notes
    assert judge.of_file(result.path) > 0.9 * judge.of_file(source.path)
    if label in ("pruning", "progressive"):
        assert result.description.parameter_count < source.description.parameter_count / 2
