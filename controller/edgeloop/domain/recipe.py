"""Ordered, serialisable, versioned list of configured passes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["PassSpec", "Recipe"]

Setting = str | int | float | bool | None | list["Setting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSpec:
    """One pass with its settings."""

    #: Registered driver name.
    name: str
    #: Settings by name, sorted; JSON scalars and lists.
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, name: str, **settings: Any) -> PassSpec:
        """Build a pass from keyword settings."""
        return cls(name=name, settings=tuple(sorted(settings.items())))

    def to_tree(self) -> dict[str, Any]:
        """Return the JSON object that stands for this pass."""
        return {"pass": self.name, **dict(self.settings)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named list of passes; no passes means the unmodified model."""

    #: Name for people, unique within an experiment.
    label: str
    #: Passes in order.
    passes: tuple[PassSpec, ...] = ()

    def canonical(self) -> str:
        """Return the one JSON text that stands for what this recipe does; the label is not part of it."""
        return json.dumps([p.to_tree() for p in self.passes], sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_tree(cls, label: str, tree: Iterable[Mapping[str, Any]]) -> Recipe:
        """Build a recipe from a list of objects that each have a "pass" and settings.

        Raises:
            InvalidInputError: an entry is not an object or has no "pass".
        """
        passes = []
        for entry in tree:
            if not isinstance(entry, Mapping) or not isinstance(entry.get("pass"), str):
                raise InvalidInputError(
                    f'recipe {label!r}: each step is an object with a "pass", found {entry!r}.'
                )
            passes.append(PassSpec.of(entry["pass"], **{k: v for k, v in entry.items() if k != "pass"}))
        return cls(label=label, passes=tuple(passes))


ORIGINAL = Recipe(label="original")
"""Candidate 0: the unmodified model."""
