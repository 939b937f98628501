"""Reads from data and outputs what the task is, and how a decision is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.metrics.base import Judged

__all__ = ["DEFAULT_METRIC", "DecisionRule", "Task", "decision_rule", "infer_task", "judged"]

Outputs = Mapping[str, NDArray[np.generic]]

DEFAULT_METRIC = {
    "classification": "accuracy",
    "binary": "roc_auc",
    "regression": "mean_absolute_error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """How a decision is read from one output; what an artifact's ``decision_*`` fields hold."""

    #: Output; empty when nothing is decided.
    output: str = ""
    #: "argmax", "threshold" or empty.
    rule: str = ""
    #: Threshold of the threshold rule.
    threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is asked of the model."""

    #: "classification", "binary" or "regression".
    kind: str
    #: Registered evaluator.
    metric: str
    #: Output it reads.
    output: str
    rule: DecisionRule


def infer_task(outputs: Outputs, data: Dataset) -> Task:
    """Return the task that labels and outputs show, where the data does not state it.

    Floats are values; integers are classes where the output has several scores or is itself an integer;
    integers 0 and 1 with one score are a yes-or-no question; other integers are values.

    Raises:
        InvalidInputError: the data has no labels, or names an output or task that does not exist.
    """
    if data.labels is None:
        raise InvalidInputError(f"data {data.name!r} has no labels, so there is no task.")
    output = _output_name(outputs, data)
    kind = data.task or _kind(outputs[output], data)
    if kind not in DEFAULT_METRIC:
        raise InvalidInputError(
            f"data {data.name!r} states the task {kind!r}; tasks are {', '.join(DEFAULT_METRIC)}."
        )
    rule = _rule(output, outputs[output], data, kind)
    return Task(kind=kind, metric=data.metric or DEFAULT_METRIC[kind], output=output, rule=rule)


def decision_rule(outputs: Outputs, data: Dataset) -> DecisionRule:
    """Return how the device's decisions are compared; an empty rule for values and for vectors without
    labels.

    ``outputs`` are the unmodified model's. Without labels, an output ``[items, scores]`` whose rows are
    probabilities (not negative, sum 1) is read by argmax; of anything else nobody said what it decides.

    Raises:
        InvalidInputError: the data names an output that does not exist.
    """
    if data.labels is not None:
        task = infer_task(outputs, data)
        if task.rule.rule == "argmax" and _width(outputs[task.output], data) < 2:
            return _scores_beside(outputs, data)
        return task.rule
    output = _output_name(outputs, data)
    if outputs[output].dtype.kind != "f" or _width(outputs[output], data) < 2:
        return DecisionRule()
    scores = outputs[output].reshape(-1, _width(outputs[output], data)).astype(np.float64)
    sums = scores.sum(axis=1)
    if (scores >= 0).all() and np.allclose(sums, 1.0, atol=1e-3):
        return DecisionRule(output=output, rule="argmax")
    return DecisionRule()


def _scores_beside(outputs: Outputs, data: Dataset) -> DecisionRule:
    """Estimators give the class itself first; a device's decision is read from the scores beside it."""
    for name, array in outputs.items():
        if array.dtype.kind == "f" and _width(array, data) >= 2:
            return DecisionRule(output=name, rule="argmax")
    return DecisionRule()


def _output_name(outputs: Outputs, data: Dataset) -> str:
    name = data.output or next(iter(outputs))
    if name not in outputs:
        raise InvalidInputError(
            f"data {data.name!r} is judged by the output {name!r}; the model has {', '.join(outputs)}."
        )
    return name


def _lead(data: Dataset) -> int:
    return 1 + bool(data.state)


def _width(array: NDArray[np.generic], data: Dataset) -> int:
    return int(np.prod(array.shape[_lead(data) :], dtype=np.int64))


def _kind(array: NDArray[np.generic], data: Dataset) -> str:
    labels = data.labels
    if labels is None or labels.dtype.kind == "f" or labels.ndim > _lead(data):
        return "regression"
    if _width(array, data) >= 2 or array.dtype.kind in "iu":
        return "classification"
    return "binary" if set(np.unique(labels).tolist()) <= {0, 1} else "regression"


def _rule(output: str, array: NDArray[np.generic], data: Dataset, kind: str) -> DecisionRule:
    if kind == "regression":
        return DecisionRule()
    if _width(array, data) >= 2 or array.dtype.kind in "iu":
        return DecisionRule(output=output, rule="argmax")
    finite = array[np.isfinite(array)]
    probabilities = bool(((finite >= 0) & (finite <= 1)).all())
    return DecisionRule(output=output, rule="threshold", threshold=0.5 if probabilities else 0.0)


def judged(outputs: Outputs, data: Dataset, task: Task) -> Judged:
    """Return answers beside labels, one row per label; a label per sequence is held against the last step.

    Raises:
        InvalidInputError: labels and answers do not go together.
    """
    labels = data.labels
    if labels is None or task.output not in outputs:
        raise InvalidInputError(f"data {data.name!r} has no labels, or the model no output {task.output!r}.")
    array = outputs[task.output]
    lead = _lead(data)
    if data.state and labels.ndim == 1:
        array, lead = array[:, -1], 1
    if array.shape[:lead] != labels.shape[:lead]:
        raise InvalidInputError(
            f"data {data.name!r}: labels of shape {labels.shape} do not fit the output "
            f"{task.output!r} of shape "
            f"{array.shape}."
        )
    count = int(np.prod(labels.shape[:lead]))
    scores = array.reshape(count, -1).astype(np.float64)
    flat = labels.reshape(count, *labels.shape[lead:])
    _check_classes(data, task, flat, scores, array.dtype.kind)
    return Judged(scores=scores, labels=flat, decisions=_decisions(scores, task, array.dtype.kind))


def _check_classes(
    data: Dataset, task: Task, labels: NDArray[np.generic], scores: NDArray[np.float64], kind: str
) -> None:
    if task.kind == "regression" or kind in "iu":
        return
    classes = max(2, scores.shape[1])
    low, high = labels.min(), labels.max()
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or low < 0 or high >= classes:
        raise InvalidInputError(
            f"data {data.name!r}: labels run from {low} to {high}, output {task.output!r} of the model has "
            f"classes 0 to {classes - 1}."
        )


def _decisions(scores: NDArray[np.float64], task: Task, kind: str) -> NDArray[np.int64] | None:
    if not task.rule.rule:
        return None
    if scores.shape[1] == 1 and kind in "iu":
        return scores[:, 0].astype(np.int64)
    finite = np.isfinite(scores).all(axis=1)
    if task.rule.rule == "argmax":
        decided = np.argmax(scores, axis=1)
    else:
        decided = (scores[:, 0] >= task.rule.threshold).astype(np.int64)
    result: NDArray[np.int64] = np.where(finite, decided, -1).astype(np.int64)
    return result
