"""Mean of the classes' F1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Scorer

__all__ = ["F1Macro"]


class F1Macro:
    """Unweighted mean of F1 over the classes that occur among labels or decisions."""

    name: ClassVar[str] = "f1_macro"
    higher_is_better: ClassVar[bool] = True
    on_decisions: ClassVar[bool] = True

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted mean; raises InvalidInputError without class labels."""
        if judged.decisions is None:
            raise InvalidInputError(
                "f1_macro needs class labels.", next_step="Use mean_absolute_error or rmse."
            )
        decided, labels = judged.decisions, judged.labels
        classes = np.unique(np.concatenate((labels, decided[decided >= 0])))
        hits = _sums(np.where(decided == labels, labels, -1), classes)
        wanted, given = _sums(labels, classes), _sums(decided, classes)

        def mean(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            both = wanted(weights) + given(weights)
            with np.errstate(invalid="ignore"):
                f1 = np.where(both > 0, 2 * hits(weights) / both, np.nan)
            result: NDArray[np.float64] = np.nanmean(f1, axis=1)
            return result

        return mean

    def correct(self, judged: Judged) -> None:
        """Return None: F1 is not a share of right items."""
        del judged


def _sums(member: NDArray[np.generic], classes: NDArray[np.generic]) -> Scorer:
    """Return sums of weights per class ``[resamples, classes]``; members of no class count nowhere."""
    order = np.argsort(member, kind="stable")
    place = np.searchsorted(member[order], classes)
    stop = np.searchsorted(member[order], classes, side="right")

    def sums(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        running = np.zeros((len(weights), len(member) + 1))
        np.cumsum(weights[:, order], axis=1, out=running[:, 1:])
        return running[:, stop] - running[:, place]

    return sums
