"""Precision, recall and F1 a class, and what was taken for what."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeloop.domain.judgement import ClassScore, Confusion

__all__ = ["class_scores", "confusions"]

Labels = NDArray[np.int64]


def class_scores(labels: Labels, decisions: Labels) -> tuple[ClassScore, ...]:
    """Return the scores of every class that occurs; a decision below 0 (an answer that is not finite) is of none."""
    classes = np.unique(np.concatenate((labels, decisions[decisions >= 0])))
    return tuple(_score(int(label), labels == label, decisions == label) for label in classes)


def _score(label: int, wanted: NDArray[np.bool_], given: NDArray[np.bool_]) -> ClassScore:
    hits, support, decided = int((wanted & given).sum()), int(wanted.sum()), int(given.sum())
    return ClassScore(
        label=label,
        support=support,
        precision=hits / decided if decided else None,
        recall=hits / support if support else None,
        f1=2 * hits / (support + decided),
    )


def confusions(labels: Labels, decisions: Labels) -> tuple[Confusion, ...]:
    """Return every pair of label and other decision that occurs, most frequent first."""
    wrong = np.stack([labels, decisions], axis=1)[labels != decisions]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple(
        Confusion(label=int(pairs[i, 0]), decided=int(pairs[i, 1]), count=int(counts[i])) for i in order
    )
