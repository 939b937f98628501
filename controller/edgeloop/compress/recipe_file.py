"""Recipes from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError

from edgeloop.compress.passes import make_pass
from edgeloop.domain.recipe import Recipe

__all__ = ["load_recipes"]

_FORM = "Write recipes: {label: [{pass: quantize_static, encoding: U8S8}]}; an empty list is the original."


def load_recipes(path: Path) -> tuple[Recipe, ...]:
    """Read ``recipes: {label: [{pass: NAME, setting: value, ...}, ...]}`` and check every pass and setting.

    Raises:
        NotFoundError: no such file, or a pass that does not exist.
        InvalidInputError: not YAML, not of that form, or a setting that the pass does not take.
    """
    import yaml

    if not path.is_file():
        raise NotFoundError(f"recipe file {path} does not exist.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error
    recipes = tree.get("recipes") if isinstance(tree, dict) else None
    if not isinstance(recipes, dict) or not recipes:
        raise InvalidInputError(f'{path.name} has no "recipes" object.', next_step=_FORM)
    return tuple(_recipe(path.name, label, steps) for label, steps in recipes.items())


def _recipe(file_name: str, label: Any, steps: Any) -> Recipe:
    if not isinstance(label, str):
        raise InvalidInputError(f"{file_name}: a recipe's label is text, not {label!r}.")
    if not isinstance(steps, list):
        raise InvalidInputError(
            f"{file_name}: recipe {label!r} is a list of passes, not {steps!r}.", next_step=_FORM
        )
    recipe = Recipe.from_tree(label, steps)
    try:
        for step in recipe.passes:
            make_pass(step)
    except EdgeloopError as error:
        text = f"{file_name}: recipe {label!r}: {error.message}"
        raise type(error)(text, next_step=error.next_step) from error
    return recipe
