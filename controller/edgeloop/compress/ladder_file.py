"""Ladders from YAML files, shipped ones by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

from edgeloop.compress.recipe_file import checked_recipe, read_yaml, shipped
from edgeloop.domain.ladder import Ladder, Rung, Stage

__all__ = ["DEFAULT", "load_ladder", "shipped_ladders"]

DEFAULT = "quantization"
"""Ladder that is climbed when none is named."""

_PREFIX = "ladder_"
_FORM = "Write ladder: [{stage: NAME, rungs: {LABEL: [{pass: NAME, setting: value}]}}]."


def shipped_ladders() -> tuple[str, ...]:
    """Return the names of the ladders that come along."""
    return tuple(name.removeprefix(_PREFIX) for name in shipped() if name.startswith(_PREFIX))


def load_ladder(name: str) -> Ladder:
    """Read a shipped ladder by its name, or a file, and check every pass and setting.

    Raises:
        NotFoundError: neither, or a pass that does not exist.
        InvalidInputError: not of the form, or a setting that the pass does not take.
    """
    known = shipped()
    path = known.get(_PREFIX + name, Path(name))
    if not path.is_file():
        raise NotFoundError(
            f"there is no ladder {name!r}.",
            next_step=f"Name a file, or one that comes along: {', '.join(shipped_ladders())}.",
        )
    tree = read_yaml(path)
    stages = tree.get("ladder") if isinstance(tree, dict) else None
    if not isinstance(stages, list):
        raise InvalidInputError(f'{path.name} has no "ladder" list.', next_step=_FORM)
    return Ladder(name=path.stem.removeprefix(_PREFIX), stages=tuple(_stage(path.name, s) for s in stages))


def _stage(file_name: str, entry: Any) -> Stage:
    rungs = entry.get("rungs") if isinstance(entry, dict) else None
    if not isinstance(rungs, dict) or not isinstance(entry.get("stage"), str):
        raise InvalidInputError(
            f"{file_name}: a stage of a ladder has a name and rungs, found {entry!r}.", next_step=_FORM
        )
    recipes = [checked_recipe(file_name, label, steps) for label, steps in rungs.items()]
    empty = [recipe.label for recipe in recipes if not recipe.passes]
    if empty:
        raise InvalidInputError(f"{file_name}: rung {empty[0]!r} has no passes.", next_step=_FORM)
    return Stage(
        name=entry["stage"], rungs=tuple(Rung(label=recipe.label, passes=recipe.passes) for recipe in recipes)
    )
