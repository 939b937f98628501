"""How often the nearest embedding is one that belongs to the item."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.accuracy import share_scorer
from edgeloop.evaluate.metrics.base import Judged, Scorer

__all__ = ["RecallAt1"]

_CHUNK = 1024
"""Rows compared with all others at a time."""


class RecallAt1:
    """Share of items whose nearest other item, by cosine, has their identity.

    Labels are identities ``[items]``, or ``[items, 2]``: identity and side (0 or 1), where an item is compared with
    those of the other side alone, such as texts with pictures; both directions count. All judged items are the
    pool: its size is part of the figure, and a resample of the items draws answers, not another pool.
    """

    name: ClassVar[str] = "recall_at_1"
    higher_is_better: ClassVar[bool] = True
    on_decisions: ClassVar[bool] = False

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted share; raises what ``correct`` raises."""
        return share_scorer(self.correct(judged))

    def correct(self, judged: Judged) -> NDArray[np.bool_]:
        """Return which items found their own; an answer that is not finite or is zero finds nothing.

        Raises:
            InvalidInputError: labels that are not identities, or an identity that nobody else has.
        """
        identity, side = _identities(judged)
        lengths = np.linalg.norm(judged.scores, axis=1)
        usable = np.isfinite(lengths) & (lengths > 0)
        unit = np.where(usable[:, None], judged.scores, 0.0) / np.where(usable, lengths, 1.0)[:, None]
        right = np.zeros(len(unit), bool)
        for start in range(0, len(unit), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(unit)))
            near = unit[rows] @ unit.T
            near[np.arange(len(rows)), rows] = -np.inf
            if side is not None:
                near[side[rows][:, None] == side[None, :]] = -np.inf
            near[:, ~usable] = -np.inf
            best = near.argmax(axis=1)
            right[rows] = identity[best] == identity[rows]
        found: NDArray[np.bool_] = right & usable
        return found


def _identities(judged: Judged) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
    labels = judged.labels
    if labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] not in (1, 2)):
        raise InvalidInputError(
            f"recall_at_1 reads an identity, or identity and side, of each item, not labels {labels.shape}."
        )
    columns = labels.reshape(len(labels), -1)
    identity = columns[:, 0]
    side = columns[:, 1] if columns.shape[1] == 2 else None
    if side is not None and set(np.unique(side).tolist()) != {0, 1}:
        raise InvalidInputError("recall_at_1 needs items of side 0 and of side 1.")
    for one in (None,) if side is None else (0, 1):
        mine = np.ones(len(identity), bool) if one is None else side == one
        other, counts = np.unique(identity if one is None else identity[~mine], return_counts=True)
        alone = set(identity[mine].tolist()) - set(other[counts > (1 if one is None else 0)].tolist())
        if alone:
            raise InvalidInputError(
                f"recall_at_1: {len(alone)} identities, {sorted(alone)[0]} first, have nobody else to find."
            )
    return identity, side
