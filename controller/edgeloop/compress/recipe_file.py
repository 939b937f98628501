"""Recipes from a YAML file, shipped ones by their name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError

from edgeloop.compress.passes import REGISTRY, make_pass
from edgeloop.domain.recipe import PassSpec, Recipe

__all__ = ["checked_recipe", "given_settings", "load_recipes", "read_yaml", "shipped", "shipped_recipe"]

_FORM = "Write recipes: {label: [{pass: quantize_static, encoding: U8S8}]}; an empty list is the original."


def shipped() -> dict[str, Path]:
    """Return the recipe and ladder files that come along, by name."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("shipped").glob("*.yaml"))}


def read_yaml(path: Path) -> Any:
    """Return the tree of a YAML file.

    Raises:
        InvalidInputError: it is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} is not YAML: {' '.join(str(error).split())}.") from error


def load_recipes(path: Path) -> tuple[Recipe, ...]:
    """Read recipes from a file, or from a shipped one by its name, and check every pass and setting.

    The form is ``recipes: {label: [{pass: NAME, setting: value, ...}, ...]}``.

    Raises:
        NotFoundError: no such file, or a pass that does not exist.
        InvalidInputError: not YAML, not of that form, or a setting that the pass does not take.
    """
    path = path if path.is_file() else shipped().get(str(path), path)
    if not path.is_file():
        raise NotFoundError(f"recipe file {path} does not exist.")
    tree = read_yaml(path)
    recipes = tree.get("recipes") if isinstance(tree, dict) else None
    if not isinstance(recipes, dict) or not recipes:
        raise InvalidInputError(f'{path.name} has no "recipes" object.', next_step=_FORM)
    return tuple(checked_recipe(path.name, label, steps) for label, steps in recipes.items())


def shipped_recipe(label: str) -> Recipe:
    """Return the recipe of that label from the recipe files that come along.

    Raises:
        NotFoundError: there is none.
    """
    files = [name for name in shipped() if not name.startswith("ladder_")]
    known = {recipe.label: recipe for name in files for recipe in load_recipes(Path(name))}
    if label not in known:
        raise NotFoundError(
            f"no recipe {label!r} comes along; there are {', '.join(known)}.",
            next_step="Name a file of your own with --recipes.",
        )
    return known[label]


def given_settings(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the given settings in every pass that has such a setting and does not say it itself."""
    passes = []
    for spec in recipe.passes:
        known = {field.name for field in fields(REGISTRY.load(spec.name).settings_type)}
        own = dict(spec.settings)
        more = {name: value for name, value in given.items() if name in known and name not in own}
        passes.append(PassSpec.of(spec.name, **own, **more))
    return Recipe(label=recipe.label, passes=tuple(passes))


def checked_recipe(file_name: str, label: Any, steps: Any) -> Recipe:
    """Return the recipe of one entry, with every pass and setting checked.

    Raises:
        NotFoundError: a pass that does not exist.
        InvalidInputError: not of the form, or a setting that the pass does not take.
    """
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
