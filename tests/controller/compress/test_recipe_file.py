from __future__ import annotations

import pytest
from edgeloop.compress.recipe_file import load_recipes
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
