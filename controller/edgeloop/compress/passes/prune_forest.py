"""Fewer trees: those whose sum comes nearest to the whole forest's on the calibration items.

Greedy forward selection with a least-squares scale and offset (orthogonal matching pursuit over trees, after Pati,
Rezaiifar and Krishnaprasad, 1993, with one common factor). It needs no labels: it keeps what the forest says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.classic.forest import Forest
from edgeloop.compress.classic.rewrite import rewrite_forest, rows_of
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import CALIBRATED, HAS_FOREST
from edgeloop.domain.model import ModelDescription

__all__ = ["PruneForest", "Settings", "chosen_trees"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a share that is not between 0 and 1.
    """

    #: Share of the trees that stay.
    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise InvalidInputError(f"pass 'prune_forest': keep is between 0 and 1, not {self.keep}.")


class PruneForest(Pass[Settings]):
    """Greedy choice of trees, scaled to stand for all."""

    name = "prune_forest"
    title = "fewer trees"
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
            count = max(1, round(self.settings.keep * len(forest.roots)))
            if count >= len(forest.roots):
                raise UnsupportedError(
                    f"{self.title} does not apply to {source_model.name}: it has {len(forest.roots)} trees."
                )
            trees, scale, offset = chosen_trees(forest, x, count)
            note(f"{count} trees of {len(forest.roots)}, scaled by {scale:.3g}")
            kept = forest.keep_trees(trees)
            return replace(
                kept,
                values=(scale * kept.values).astype(np.float32),
                base=(forest.base + offset).astype(np.float32),
            )

        rewrite_forest(source, target, change)


def chosen_trees(
    forest: Forest, x: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], float, NDArray[np.float64]]:
    """Return the chosen trees in order, the factor for their leaves and what is added to the base,
    ``[targets]``.

    Args:
        forest: The forest.
        x: Items, ``[items, features]``.
        count: How many trees to choose, fewer than there are.
    """
    parts = forest.values.astype(np.float64)[forest.leaves(x)].transpose(1, 0, 2)
    means = parts.mean(axis=1)
    centred = (parts - means[:, None, :]).reshape(len(parts), -1)
    whole = centred.sum(axis=0)
    gram, along = centred @ centred.T, centred @ whole
    chosen: list[int] = []
    free = np.ones(len(parts), np.bool_)
    product = np.zeros(len(parts))
    norm = projection = 0.0
    for _ in range(count):
        norms = norm + 2 * product + np.diag(gram)
        gains = np.where(norms > 1e-12, (projection + along) ** 2 / np.maximum(norms, 1e-12), 0.0)
        best = int(np.argmax(np.where(free, gains, -1.0)))
        norm, projection = float(norms[best]), projection + float(along[best])
        product += gram[best]
        free[best] = False
        chosen.append(best)
    scale = projection / norm if norm > 1e-12 else len(parts) / count
    trees = np.sort(np.asarray(chosen, np.int64))
    offset: Any = means.sum(axis=0) - scale * means[trees].sum(axis=0)
    return trees, scale, offset
