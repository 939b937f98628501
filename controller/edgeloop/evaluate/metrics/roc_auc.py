"""Area under the receiver operating characteristic."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Scorer

__all__ = ["RocAuc"]


class RocAuc:
    """Chance that a positive item scores above a negative one, ties counting half.

    The score is the only one, or the second minus the first of two. An answer that is not finite ranks
    lowest.
    """

    name: ClassVar[str] = "roc_auc"
    higher_is_better: ClassVar[bool] = True
    on_decisions: ClassVar[bool] = False

    def bind(self, judged: Judged) -> Scorer:
        """Sort once and return the weighted area.

        Raises:
            InvalidInputError: more than two scores, labels other than 0 and 1, or only one of them.
        """
        positive = _positive(judged)
        score = (
            judged.scores[:, 0] if judged.scores.shape[1] == 1 else judged.scores[:, 1] - judged.scores[:, 0]
        )
        score = np.where(np.isfinite(score), score, -np.inf)
        order = np.argsort(score, kind="stable")
        sorted_score, sorted_positive = score[order], positive[order]
        starts = np.flatnonzero(np.concatenate(([True], sorted_score[1:] != sorted_score[:-1])))

        def area(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            ordered = weights[:, order]
            ups = np.add.reduceat(ordered * sorted_positive, starts, axis=1)
            downs = np.add.reduceat(ordered * ~sorted_positive, starts, axis=1)
            below = np.cumsum(downs, axis=1) - downs / 2
            total = ups.sum(axis=1) * downs.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                result: NDArray[np.float64] = (ups * below).sum(axis=1) / total
            return result

        return area

    def correct(self, judged: Judged) -> None:
        """Return None: a ranking has no right or wrong item."""
        del judged


def _positive(judged: Judged) -> NDArray[np.bool_]:
    if judged.scores.shape[1] > 2 or judged.labels.ndim != 1:
        raise InvalidInputError(
            f"roc_auc needs one or two scores per label, not {judged.scores.shape[1]}.",
            next_step="Use accuracy.",
        )
    classes = set(np.unique(judged.labels).tolist())
    if classes != {0, 1}:
        raise InvalidInputError(f"roc_auc needs labels 0 and 1, both; found {sorted(classes)[:5]}.")
    positive: NDArray[np.bool_] = judged.labels == 1
    return positive
