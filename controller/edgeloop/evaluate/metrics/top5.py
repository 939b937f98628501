"""Share of items whose label is among the five best scores."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.accuracy import share_scorer
from edgeloop.evaluate.metrics.base import Judged, Scorer

__all__ = ["Top5"]


class Top5:
    """Share of items whose label has one of the five best scores; of equal ones the lower class wins."""

    name: ClassVar[str] = "top5"
    higher_is_better: ClassVar[bool] = True
    on_decisions: ClassVar[bool] = False

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted share; raises what ``correct`` raises."""
        return share_scorer(self.correct(judged))

    def correct(self, judged: Judged) -> NDArray[np.bool_]:
        """Return which items are right; raises InvalidInputError below six classes or without labels."""
        scores = judged.scores
        if judged.decisions is None or scores.shape[1] <= 5:
            raise InvalidInputError(
                f"top5 needs class labels and more than five classes, not {scores.shape[1]}.",
                next_step="Use accuracy.",
            )
        labels = judged.labels.astype(np.intp)
        own = np.take_along_axis(scores, labels[:, None], axis=1)
        before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
        right: NDArray[np.bool_] = (before.sum(axis=1) < 5) & np.isfinite(scores).all(axis=1)
        return right
