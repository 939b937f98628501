"""What a metric sees and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

__all__ = ["Judged", "Metric", "Scorer", "values_of"]

Scorer = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Item weights ``[resamples, items]`` -> metric ``[resamples]``; NaN where a resample has no value."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Answers beside labels, one row per label."""

    #: Scores ``[items, k]``.
    scores: NDArray[np.float64]
    #: Labels ``[items]``, or ``[items, d]`` where the answer is a vector.
    labels: NDArray[np.generic]
    #: Decided class ``[items]``, -1 where a score is not finite; None where nothing is decided.
    decisions: NDArray[np.int64] | None = None


class Metric(Protocol):
    """One metric; the class is found by its registered name."""

    name: ClassVar[str]
    #: Whether more is better.
    higher_is_better: ClassVar[bool]
    #: Whether it reads decisions alone, so that scores may move without moving it.
    on_decisions: ClassVar[bool]

    def bind(self, judged: Judged) -> Scorer:
        """Prepare the answers once and return what scores any weighting of them.

        Raises:
            InvalidInputError: the metric has no meaning for these answers and labels.
        """
        ...

    def correct(self, judged: Judged) -> NDArray[np.bool_] | None:
        """Return which items are right, ``[items]``; None where an answer is not right or wrong."""
        ...


def values_of(judged: Judged, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return answers and labels as ``[items, d]``.

    Raises:
        InvalidInputError: the labels are not numbers of the answers' size, or an answer is not finite.
    """
    labels = judged.labels.reshape(len(judged.labels), -1).astype(np.float64)
    if labels.shape != judged.scores.shape:
        raise InvalidInputError(
            f"{metric} compares {judged.scores.shape[1]} values per item with {labels.shape[1]} per label."
        )
    wrong = int((~np.isfinite(judged.scores)).any(axis=1).sum())
    if wrong:
        raise InvalidInputError(f"{metric}: the answers to {wrong} of {len(labels)} items are not finite.")
    return judged.scores, labels
