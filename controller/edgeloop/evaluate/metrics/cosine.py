"""Cosine similarity of vectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Scorer, values_of

__all__ = ["Cosine"]


class Cosine:
    """Mean cosine of the angle between answer and label vectors; a zero answer counts 0."""

    name: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    on_decisions: ClassVar[bool] = False

    def bind(self, judged: Judged) -> Scorer:
        """Return the weighted mean.

        Raises:
            InvalidInputError: labels of another size, answers not finite, or a label vector of zeros.
        """
        answers, labels = values_of(judged, self.name)
        lengths = np.linalg.norm(answers, axis=1) * np.linalg.norm(labels, axis=1)
        if not np.linalg.norm(labels, axis=1).all():
            raise InvalidInputError("cosine has no meaning for a label vector of zeros.")
        products = (answers * labels).sum(axis=1)
        values = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        return lambda weights: weights @ values / weights.sum(axis=1)

    def correct(self, judged: Judged) -> NDArray[np.bool_] | None:
        """Return None: a direction is near or far, not right or wrong."""
        del judged
        return None
