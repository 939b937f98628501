from __future__ import annotations

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.task import decision_rule, infer_task, judged
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding

STATE = (StateBinding(input="s", output="t"),)


def data(labels: object, count: int = 4, **settings: object) -> Dataset:
    array = None if labels is None else np.asarray(labels)
    return Dataset(name="d", inputs={"x": np.zeros((count, 2))}, labels=array, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "output", "kind", "metric", "rule"),
    [
        ([0, 1, 2, 0], np.zeros((4, 3), np.float32), "classification", "accuracy", "argmax"),
        ([0, 1, 1, 0], np.zeros((4, 1), np.float32), "binary", "roc_auc", "threshold"),
        ([0, 1, 1, 0], np.zeros(4, np.float32), "binary", "roc_auc", "threshold"),
        ([0, 7, 1, 0], np.zeros((4, 1), np.float32), "regression", "mean_absolute_error", ""),
        ([0.5, 1, 1, 0], np.zeros((4, 1), np.float32), "regression", "mean_absolute_error", ""),
        ([0, 7, 1, 0], np.zeros(4, np.int64), "classification", "accuracy", "argmax"),
    ],
)
def test_the_task_is_read_from_labels_and_output(
    labels: list, output: np.ndarray, kind: str, metric: str, rule: str
) -> None:
    task = infer_task({"y": output}, data(labels))
    assert (task.kind, task.metric, task.rule.rule) == (kind, metric, rule)


def test_what_the_data_states_wins() -> None:
    task = infer_task(
        {"a": np.zeros((4, 3)), "b": np.zeros((4, 9))}, data([0, 1, 2, 0], metric="top5", output="b")
    )
    assert (task.metric, task.output) == ("top5", "b")
    with pytest.raises(InvalidInputError, match="the model has a, b"):
        infer_task({"a": np.zeros(4), "b": np.zeros(4)}, data([0, 1, 2, 0], output="c"))


def test_the_threshold_of_logits_is_zero() -> None:
    logits = {"y": np.array([[-2.0], [3.0], [1.0], [-1.0]])}
    assert decision_rule(logits, data([0, 1, 1, 0])).threshold == 0.0
    assert decision_rule({"y": np.full((4, 1), 0.3)}, data([0, 1, 1, 0])).threshold == 0.5
    assert judged(logits, data([0, 1, 1, 0]), infer_task(logits, data([0, 1, 1, 0]))).decisions.tolist() == [
        0,
        1,
        1,
        0,
    ]  # type: ignore[union-attr]


def test_an_estimator_that_gives_the_class_is_compared_by_the_scores_beside_it() -> None:
    outputs = {"label": np.zeros(4, np.int64), "probabilities": np.zeros((4, 3), np.float32)}
    assert decision_rule(outputs, data([0, 1, 2, 0])).output == "probabilities"


def test_without_labels_only_probabilities_decide() -> None:
    assert decision_rule({"y": np.full((4, 2), 0.5, np.float32)}, data(None)).rule == "argmax"
    assert decision_rule({"y": np.full((4, 2), 0.7, np.float32)}, data(None)).rule == ""


def test_a_label_per_sequence_is_held_against_the_last_step() -> None:
    scores = np.zeros((4, 5, 3))
    scores[:, -1, 2] = 1
    sequences = data([2, 2, 2, 0], state=STATE)
    assert (
        judged({"y": scores}, sequences, infer_task({"y": scores}, sequences)).decisions.tolist() == [2] * 4
    )  # type: ignore[union-attr]


def test_an_answer_that_is_not_finite_decides_nothing() -> None:
    scores = {"y": np.array([[np.nan, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2.0]])}
    good = {"y": np.nan_to_num(scores["y"])}
    labelled = data([2, 2, 2, 2])
    assert judged(scores, labelled, infer_task(good, labelled)).decisions.tolist() == [-1, 2, 2, 2]  # type: ignore[union-attr]


def test_labels_beyond_the_classes_are_refused() -> None:
    outputs = {"y": np.zeros((4, 3))}
    with pytest.raises(
        InvalidInputError, match="labels run from 0 to 3, output 'y' of the model has classes 0 to 2"
    ):
        judged(outputs, data([0, 1, 2, 3]), infer_task(outputs, data([0, 1, 2, 3])))
