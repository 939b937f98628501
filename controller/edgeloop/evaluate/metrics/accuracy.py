"""Share of right decisions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Scorer

__all__ = ["Accuracy", "share_scorer"]


class Accuracy:
    """Share of items whose decision is the label."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    on_decisions: ClassVar[bool] = True

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted share of right decisions; raises InvalidInputError without decisions."""
        return share_scorer(self.correct(judged))

    def correct(self, judged: Judged) -> NDArray[np.bool_]:
        """Return which decisions are right; raises InvalidInputError without decisions."""
        if judged.decisions is None:
            raise InvalidInputError(
                "accuracy needs class labels.", next_step="Use mean_absolute_error or rmse."
            )
        right: NDArray[np.bool_] = judged.decisions == judged.labels
        return right


def share_scorer(right: NDArray[np.bool_]) -> Scorer:
    """Return the weighted share of True."""
    values = right.astype(np.float64)

    def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
        return result

    return score
