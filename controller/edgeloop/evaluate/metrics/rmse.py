"""Root of the mean squared error."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Scorer, values_of

__all__ = ["Rmse"]


class Rmse:
    """Root of the mean of (answer - label) squared over all values, in the labels' unit."""

    name: ClassVar[str] = "rmse"
    higher_is_better: ClassVar[bool] = False
    on_decisions: ClassVar[bool] = False

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted root; raises InvalidInputError for other sizes or answers not finite."""
        answers, labels = values_of(judged, self.name)
        squares = np.square(answers - labels).mean(axis=1)
        return lambda weights: np.sqrt(weights @ squares / weights.sum(axis=1))

    def correct(self, judged: Judged) -> NDArray[np.bool_] | None:
        """Return None: a value is near or far, not right or wrong."""
        del judged
        return None
