"""Trees cut at a depth: a subtree becomes one leaf, the mean of its leaves by how many items reach them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.classic.forest import Forest, ForestBuilder
from edgeloop.compress.classic.rewrite import rewrite_forest, rows_of
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import CALIBRATED, HAS_FOREST
from edgeloop.domain.model import ModelDescription

__all__ = ["LimitDepth", "Settings", "limited"]

_PRIOR = 0.5
"""Items that each child is taken to have seen beside the counted ones, so that an unseen subtree has a mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a depth below 1.
    """

    #: Splits on the longest path that stays.
    depth: int = 6

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InvalidInputError(f"pass 'limit_depth': depth is at least 1, not {self.depth}.")


class LimitDepth(Pass[Settings]):
    """Every path of every tree has at most ``depth`` splits."""

    name = "limit_depth"
    title = "depth limit"
    settings_type = Settings
    requires = (HAS_FOREST, CALIBRATED)
    ensures = Ensures(approximate=True)
    otherwise = "Take a smaller depth, or leave the pass out."

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        x = rows_of(context, source_model)

        def change(forest: Forest) -> Forest:
            made = limited(forest, self.settings.depth, forest.visits(x))
            if len(made.feature) == len(forest.feature):
                raise UnsupportedError(
                    f"{self.title} does not apply to {source_model.name}: no tree is deeper than "
                    f"{self.settings.depth}."
                )
            note(f"depth {self.settings.depth}: {len(made.feature)} nodes of {len(forest.feature)}")
            return made

        rewrite_forest(source, target, change)


def limited(forest: Forest, depth: int, visits: NDArray[np.int64]) -> Forest:
    """Return the forest with every subtree below ``depth`` as one leaf.

    Args:
        forest: Any forest whose children stand behind their parents.
        depth: Splits on the longest path that stays.
        visits: How many items pass through each node, ``[nodes]``.
    """
    means = _means(forest, visits)
    builder = ForestBuilder(forest.values.shape[1])

    def grow(row: int, level: int) -> int:
        if forest.yes[row] < 0 or level == depth:
            return builder.leaf(means[row])
        made = builder.split(
            int(forest.feature[row]), float(forest.threshold[row]), bool(forest.missing_yes[row])
        )
        yes = grow(int(forest.yes[row]), level + 1)
        builder.connect(made, yes, grow(int(forest.no[row]), level + 1))
        return made

    for root in forest.roots.tolist():
        builder.begin_tree()
        grow(root, 0)
    return replace(builder.build(), base=forest.base)


def _means(forest: Forest, visits: NDArray[np.int64]) -> NDArray[np.float64]:
    means = forest.values.astype(np.float64)
    for row in range(len(means) - 1, -1, -1):
        yes, no = int(forest.yes[row]), int(forest.no[row])
        if yes >= 0:
            left, right = visits[yes] + _PRIOR, visits[no] + _PRIOR
            means[row] = (left * means[yes] + right * means[no]) / (left + right)
    return means
