"""Features whose permutation hardly moves the answers are asked no more.

Importance is the mean squared move of the outputs when a feature's column is permuted over the calibration items
(Breiman, 2001, with the model's own answers in place of labels). The input keeps its shape; the columns are unread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.classic.forest import Forest, ForestBuilder
from edgeloop.compress.classic.rewrite import rewrite_forest, rows_of
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import CALIBRATED, HAS_FOREST
from edgeloop.domain.model import ModelDescription

__all__ = ["DropFeatures", "Settings", "importances", "without_features"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a share that is not between 0 and 1, or no repeat.
    """

    #: Share of the features that stay.
    keep: float = 0.5
    #: Permutations of each column.
    repeats: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1 or self.repeats < 1:
            raise InvalidInputError(
                f"pass 'drop_features': keep is between 0 and 1 and repeats at least 1, not {self.keep} "
                f"and {self.repeats}."
            )


class DropFeatures(Pass[Settings]):
    """Splits on the least important features give way to the child that most items take."""

    name = "drop_features"
    title = "fewer features"
    settings_type = Settings
    requires = (HAS_FOREST, CALIBRATED)
    ensures = Ensures(approximate=True)
    otherwise = "Take a smaller keep, or leave the pass out."

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
            found = importances(forest, x, self.settings.repeats, context.seed)
            count = max(1, round(self.settings.keep * x.shape[1]))
            dropped = np.argsort(-found, kind="stable")[count:]
            made = without_features(forest, {int(f) for f in dropped}, forest.visits(x))
            if len(made.feature) == len(forest.feature):
                raise UnsupportedError(
                    f"{self.title} does not apply to {source_model.name}: it asks {count} features at most."
                )
            note(f"{count} features of {x.shape[1]}: {len(made.feature)} nodes of {len(forest.feature)}")
            return made

        rewrite_forest(source, target, change)


def importances(forest: Forest, x: NDArray[np.float32], repeats: int, seed: int) -> NDArray[np.float64]:
    """Return how far the sums move when each column of ``x`` is permuted, ``[features]``."""
    rng = np.random.default_rng(seed)
    expected = forest.raw(x)
    found = np.zeros(x.shape[1])
    for feature in np.unique(forest.feature[~forest.is_leaf]).tolist():
        for _ in range(repeats):
            moved = x.copy()
            moved[:, feature] = rng.permutation(moved[:, feature])
            found[feature] += float(((forest.raw(moved) - expected) ** 2).mean()) / repeats
    return found


def without_features(forest: Forest, dropped: set[int], visits: NDArray[np.int64]) -> Forest:
    """Return the forest without splits on ``dropped``; ``visits`` says which child takes their place."""
    builder = ForestBuilder(forest.values.shape[1])

    def grow(row: int) -> int:
        yes, no = int(forest.yes[row]), int(forest.no[row])
        if yes < 0:
            return builder.leaf(forest.values[row])
        if int(forest.feature[row]) in dropped:
            return grow(yes if visits[yes] >= visits[no] else no)
        made = builder.split(
            int(forest.feature[row]), float(forest.threshold[row]), bool(forest.missing_yes[row])
        )
        left: Any = grow(yes)
        builder.connect(made, left, grow(no))
        return made

    for root in forest.roots.tolist():
        builder.begin_tree()
        grow(root)
    return replace(builder.build(), base=forest.base)
