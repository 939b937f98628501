"""Mean absolute error."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Scorer, values_of

__all__ = ["MeanAbsoluteError"]


class MeanAbsoluteError:
    """Mean of |answer - label| over all values, in the labels' unit."""

    name: ClassVar[str] = "mean_absolute_error"
    higher_is_better: ClassVar[bool] = False
    on_decisions: ClassVar[bool] = False

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted mean; raises InvalidInputError for other sizes or answers not finite."""
        answers, labels = values_of(judged, self.name)
        errors = np.abs(answers - labels).mean(axis=1)
        return lambda weights: weights @ errors / weights.sum(axis=1)

    def correct(self, judged: Judged) -> NDArray[np.bool_] | None:
        """Return None: a value is near or far, not right or wrong."""
        del judged
        return None
