"""Fewer neighbours in the table: prototypes, the k-means centres of each class or of each range of values.

Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 13.2.1 (k-means prototypes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.classic.neighbours import TABLE, VOTES
from edgeloop.compress.classic.rewrite import constant, put_constant
from edgeloop.compress.graph import load_model, save_model
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import HAS_NEIGHBOURS
from edgeloop.domain.model import ModelDescription

__all__ = ["ReduceNeighbours", "Settings", "prototypes"]

_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a share that is not between 0 and 1.
    """

    #: Share of the table that stays.
    keep: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise InvalidInputError(f"pass 'reduce_neighbours': keep is between 0 and 1, not {self.keep}.")


class ReduceNeighbours(Pass[Settings]):
    """A smaller table of prototypes, each with the vote of its class."""

    name = "reduce_neighbours"
    title = "prototypes"
    settings_type = Settings
    requires = (HAS_NEIGHBOURS,)
    ensures = Ensures(approximate=True)
    otherwise = "Take another share for keep, or leave the pass out."

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        model = load_model(source)
        table, votes = constant(model, TABLE), constant(model, VOTES)
        asked = int(constant(model, "count")[0])
        if votes.shape[1] == 1:
            raise UnsupportedError(f"{self.title} does not apply to {source_model.name}: it has no classes.")
        made, kept = prototypes(table, votes, self.settings.keep, context.seed)
        if len(made) < asked or len(made) >= len(table):
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: {len(made)} of {len(table)} neighbours "
                f"would stay, and {asked} are asked."
            )
        put_constant(model, TABLE, made.astype(table.dtype))
        put_constant(model, VOTES, kept)
        save_model(model, target)
        note(f"{len(made)} prototypes of {len(table)} neighbours")


def prototypes(
    table: NDArray[np.floating], votes: NDArray[np.float32], keep: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return k-means centres of each class, ``keep`` of its rows, and their votes.

    Args:
        table: ``[neighbours, features]``.
        votes: One for the class of each neighbour, ``[neighbours, classes]``.
        keep: Share that stays, of each class at least one.
        seed: Seed of the first centres.
    """
    rng = np.random.default_rng(seed)
    centres, kept = [], []
    for number in np.unique(votes.argmax(axis=1)):
        rows = table[votes.argmax(axis=1) == number].astype(np.float64)
        count = max(1, round(keep * len(rows)))
        found = _means(rows, rows[rng.choice(len(rows), count, replace=False)])
        centres.append(found)
        kept.append(np.tile(np.eye(votes.shape[1], dtype=np.float32)[number], (len(found), 1)))
    return np.concatenate(centres), np.concatenate(kept)


def _means(rows: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    for _ in range(_ROUNDS):
        # |a-b|^2 without the row's own square, which is the same for every centre.
        nearest = ((centres**2).sum(axis=1) - 2 * rows @ centres.T).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, rows)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres
