from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.compress.ladder_file import DEFAULT, load_ladder, shipped_ladders
from edgeloop.compress.recipe_file import load_recipes
from edgeloop_foundation.errors import InvalidInputError, NotFoundError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_becomes_stages_and_rungs(tmp_path: Path) -> None:
    text = "ladder:\n- stage: int8\n  rungs:\n    a: [{pass: quantize_static, encoding: S8S8}]\n"
    ladder = load_ladder(write(tmp_path / "mine.yaml", text))
    assert ladder.name == "mine"
    (stage,) = ladder.stages
    assert stage.rungs[0].passes[0].to_tree() == {"pass": "quantize_static", "encoding": "S8S8"}


def test_shipped_files_are_found_by_name() -> None:
    assert DEFAULT in shipped_ladders()
    assert {recipe.label for recipe in load_recipes(Path("post_training"))} >= {"static int8", "int4 at rest"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipes: {}", 'no "ladder" list'),
        ("ladder: [1]", "has a name and rungs, found 1"),
        ("ladder: [{stage: a, rungs: {b: []}}]", "rung 'b' has no passes"),
        ("ladder: []", "has no stages"),
        ("ladder: [{stage: a, rungs: {b: [{pass: quantize_static, bits: 3}]}}]", "no setting 'bits'"),
        ("{", "is not YAML"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        load_ladder(write(tmp_path / "mine.yaml", text))


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(NotFoundError, match=r"no ladder 'steep'.*at_rest, progressive, quantization"):
        load_ladder("steep")
