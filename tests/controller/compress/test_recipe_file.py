from __future__ import annotations

import pytest
from edgeloop.compress.recipe_file import given_settings, load_recipes, shipped_recipe
from edgeloop.domain.recipe import Recipe
from edgeloop_foundation.errors import InvalidInputError, NotFoundError


def write(tmp_path, text):
    path = tmp_path / "recipes.yaml"
    path.write_text(text)
    return path


def test_recipes_are_read_in_order(tmp_path):
    path = write(
        tmp_path,
        "recipes:\n  plain: []\n  small:\n    - {pass: optimize_graph, level: basic}\n"
        "    - pass: quantize_static\n      encoding: S8S8\n      exclude: [a, b]\n",
    )
    plain, small = load_recipes(path)
    assert (plain.label, plain.passes) == ("plain", ())
    assert [p.name for p in small.passes] == ["optimize_graph", "quantize_static"]
    assert dict(small.passes[1].settings) == {"encoding": "S8S8", "exclude": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipes: {", "is not YAML"),
        ("- 1", 'has no "recipes" object'),
        ("recipes: {a: 3}", "recipe 'a' is a list of passes"),
        ("recipes: {a: [3]}", 'each step is an object with a "pass"'),
        ("recipes: {1: []}", "a recipe's label is text"),
        (
            "recipes: {a: [{pass: quantize_static, encoding: 7}]}",
            "recipe 'a': pass 'quantize_static': encoding is str",
        ),
        ("recipes: {a: [{pass: quantize_static, colour: red}]}", "no setting 'colour'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message):
        load_recipes(write(tmp_path, text))


def test_unknown_pass_and_missing_file(tmp_path):
    with pytest.raises(NotFoundError, match=r"recipes\.yaml: recipe 'a': unknown passes 'melt'"):
        load_recipes(write(tmp_path, "recipes: {a: [{pass: melt}]}"))
    with pytest.raises(NotFoundError, match="does not exist"):
        load_recipes(tmp_path / "none.yaml")


def test_recipes_that_come_along_are_found_by_label():
    assert [p.name for p in shipped_recipe("hybrid").passes] == [
        "prune_channels",
        "distill",
        "quantize_static",
    ]
    ratios = [dict(p.settings)["ratio"] for p in shipped_recipe("progressive").passes if "prune" in p.name]
    assert ratios == [0.2, 0.4, 0.6]
    for label in ("pruning", "distillation", "quantization, trained"):
        assert shipped_recipe(label).passes
    with pytest.raises(NotFoundError, match=r"no recipe 'melt' comes along; there are .*hybrid"):
        shipped_recipe("melt")


def test_given_settings_go_where_they_are_known_and_never_over_the_recipes_own():
    recipe = Recipe.from_tree(
        "r", [{"pass": "prune_channels", "block": 4}, {"pass": "finetune"}, {"pass": "quantize_static"}]
    )
    prune, tune, static = given_settings(
        recipe, {"train": "a.py:b", "block": 16, "validate": "c.py:d"}
    ).passes
    assert dict(prune.settings) == {"block": 4, "train": "a.py:b"}
    assert dict(tune.settings) == {"train": "a.py:b", "validate": "c.py:d"}
    assert static.settings == ()
