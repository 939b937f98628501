"""Every metric against figures worked out by hand, and with weights against repeated items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import edgeloop.evaluate.metrics as room
import numpy as np
import pytest
from edgeloop.evaluate.metrics import BUILTIN, EVALUATORS
from edgeloop.evaluate.metrics.base import Judged
from edgeloop_foundation.errors import InvalidInputError


def score(metric: str, judged: Judged, weights: list[float] | None = None) -> float:
    rows = np.ones(len(judged.labels)) if weights is None else np.asarray(weights, float)
    return float(EVALUATORS.load(metric)().bind(judged)(rows[None])[0])


def decided(decisions: list[int], labels: list[int]) -> Judged:
    return Judged(
        scores=np.zeros((len(labels), 3)),
        labels=np.asarray(labels),
        decisions=np.asarray(decisions, np.int64),
    )


def valued(scores: list[Any], labels: list[Any]) -> Judged:
    array = np.asarray(scores, float)
    return Judged(scores=array.reshape(len(array), -1), labels=np.asarray(labels))


def test_room_table_and_names_agree() -> None:
    files = {p.stem for p in Path(room.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(BUILTIN)
    assert all(EVALUATORS.load(name).name == name for name in BUILTIN)


def test_accuracy() -> None:
    judged = decided([0, 1, 2, -1], [0, 1, 1, 0])
    assert score("accuracy", judged) == 0.5
    assert score("accuracy", judged, [2, 0, 1, 1]) == 0.5


def test_top5_takes_the_lower_class_of_equal_scores() -> None:
    scores = np.array([[0, 1, 2, 3, 4, 5, 6.0], [1, 1, 1, 1, 1, 1, 1]])
    for labels, expected in (([2, 4], 1.0), ([1, 5], 0.0), ([6, 5], 0.5)):
        judged = Judged(scores=scores, labels=np.asarray(labels), decisions=np.zeros(2, np.int64))
        assert score("top5", judged) == expected


def test_roc_auc_counts_ties_half() -> None:
    # Pairs (positive, negative): (.8,.5) (.8,.2) (.8,.8 tie) (.4,.5 lost) (.4,.2) (.4,.8 lost): 3.5 of 6.
    judged = valued([0.8, 0.4, 0.5, 0.2, 0.8], [1, 1, 0, 0, 0])
    assert score("roc_auc", judged) == pytest.approx(3.5 / 6)


def test_roc_auc_of_two_scores_and_of_answers_that_are_not_finite() -> None:
    assert score("roc_auc", valued([[1, 2], [2, 1]], [1, 0])) == 1.0
    assert score("roc_auc", valued([np.nan, 0.1], [1, 0])) == 0.0


def test_f1_macro() -> None:
    # Class 0: tp 1, fp 1, fn 1: 1/2. Class 1: tp 1, fp 1, fn 0: 2/3. Class 2: tp 0, fp 0, fn 1: 0.
    judged = decided([0, 1, 1, 0], [0, 0, 1, 2])
    assert score("f1_macro", judged) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_errors_and_cosine() -> None:
    judged = valued([1.0, 2.0, 4.0], [1.0, 4.0, 1.0])
    assert score("mean_absolute_error", judged) == pytest.approx(5 / 3)
    assert score("rmse", judged) == pytest.approx(np.sqrt(13 / 3))
    vectors = valued([[1, 0], [1, 1], [0, 0]], [[1, 0], [1, 0], [1, 0]])
    assert score("cosine", vectors) == pytest.approx((1 + 1 / np.sqrt(2) + 0) / 3)


def test_recall_finds_the_nearest_of_those_that_may_be_found() -> None:
    # By angle: 0 and 10 degrees are a pair, 90 and 60 another; 60 is nearer to 90 than to 10.
    angles = np.radians([0.0, 90.0, 10.0, 60.0])
    scores = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert score("recall_at_1", Judged(scores=scores, labels=np.array([5, 7, 5, 7]))) == 1.0
    # At 30 and 40 degrees the third and the fourth find each other instead.
    crossed = np.radians([0.0, 90.0, 30.0, 40.0])
    scores = np.stack([np.cos(crossed), np.sin(crossed)], axis=1)
    assert score("recall_at_1", Judged(scores=scores, labels=np.array([5, 7, 5, 7]))) == 0.5
    # Told apart by side they may not: 0 finds 30, 90 finds 40, 30 finds 0, 40 finds 0 and is wrong.
    sided = Judged(scores=scores, labels=np.array([[5, 0], [7, 0], [5, 1], [7, 1]]))
    assert score("recall_at_1", sided) == 0.75
    assert score("recall_at_1", sided, [0, 1, 0, 1]) == 0.5


def test_an_answer_that_is_not_finite_is_not_found_and_finds_nothing() -> None:
    scores = np.array([[1.0, 0.0], [np.nan, 0.0], [1.0, 0.1], [0.0, 0.0], [0.5, 0.5], [0.5, 0.6]])
    judged = Judged(scores=scores, labels=np.array([0, 1, 0, 1, 2, 2]))
    assert EVALUATORS.load("recall_at_1")().correct(judged).tolist() == [True, False, True, False, True, True]


# A resample draws answers of recall_at_1, not another pool of what may be found.
@pytest.mark.parametrize("metric", sorted(set(BUILTIN) - {"recall_at_1"}))
def test_a_weight_is_a_repeated_item(metric: str) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 30).astype(float)
    scores = np.column_stack([rng.standard_normal(30) for _ in range(1 if metric != "top5" else 7)])
    whole = Judged(
        scores=scores + (metric == "cosine"),
        labels=labels.astype(int) if metric in ("top5", "accuracy", "f1_macro", "roc_auc") else labels + 1,
        decisions=rng.integers(0, 2, 30),
    )
    weights = rng.integers(0, 4, 30)
    index = np.repeat(np.arange(30), weights)
    assert whole.decisions is not None
    repeated = Judged(
        scores=whole.scores[index], labels=whole.labels[index], decisions=whole.decisions[index]
    )
    assert score(metric, whole, weights.tolist()) == pytest.approx(score(metric, repeated))


@pytest.mark.parametrize(
    ("metric", "judged", "says"),
    [
        ("roc_auc", valued([0.1, 0.2], [1, 1]), "labels 0 and 1, both"),
        ("roc_auc", valued([[1, 2, 3]], [1]), "one or two scores"),
        ("top5", valued([[1, 2]], [1]), "more than five classes"),
        ("accuracy", valued([1.0], [1.0]), "needs class labels"),
        ("rmse", valued([[1, 2]], [1.0]), "compares 2 values"),
        ("mean_absolute_error", valued([np.inf], [1.0]), "not finite"),
        ("cosine", valued([[1, 2]], [[0, 0]]), "zeros"),
        ("recall_at_1", valued([[1, 2], [2, 1]], [1, 2]), "2 identities, 1 first, have nobody else"),
        ("recall_at_1", valued([[1, 2], [2, 1]], [[1, 0], [1, 0]]), "side 0 and of side 1"),
        ("recall_at_1", valued([[1, 2], [2, 1]], [[1, 0], [2, 1]]), "nobody else to find"),
        ("recall_at_1", valued([[1, 2]], [[1, 2, 3]]), r"not labels \(1, 3\)"),
    ],
)
def test_what_a_metric_refuses(metric: str, judged: Judged, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        score(metric, judged)
