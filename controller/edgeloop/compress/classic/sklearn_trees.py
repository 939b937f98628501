"""Trees, forests and boosting of scikit-learn as one forest."""

from __future__ import annotations

from typing import Any

import numpy as np
from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.classic.forest import Forest, ForestBuilder, round_down
from edgeloop.compress.classic.heads import Head, class_numbers

__all__ = ["read_averaged", "read_boosted", "read_histogram"]


def read_averaged(estimator: Any) -> tuple[Forest, Head]:
    """Return a decision tree, random forest or extra trees: every leaf holds shares or a value, and they are
    averaged.

    Raises:
        UnsupportedError: it answers several targets at once.
    """
    if getattr(estimator, "n_outputs_", 1) != 1:
        raise UnsupportedError("the ensemble has several targets.", next_step="Fit one estimator a target.")
    trees = getattr(estimator, "estimators_", [estimator])
    classes = getattr(estimator, "classes_", None)
    builder = ForestBuilder(1 if classes is None else len(classes))
    for tree in trees:
        inner, values = tree.tree_, tree.tree_.value[:, 0, :]
        _add(builder, inner, values / values.sum(axis=1, keepdims=True) if classes is not None else values)
    head = Head(divisor=len(trees), classes=None if classes is None else class_numbers(classes))
    return builder.build(), head


def _add(builder: ForestBuilder, tree: Any, values: Any, target: int | None = None) -> None:
    builder.begin_tree()
    first = None
    missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, np.bool_))
    for i in range(tree.node_count):
        if tree.children_left[i] < 0:
            row = builder.leaf(values[i] if target is None else values[i, 0], target)
        else:
            row = builder.split(int(tree.feature[i]), round_down(float(tree.threshold[i])), bool(missing[i]))
        first = row if first is None else first
    for i in range(tree.node_count):
        if tree.children_left[i] >= 0 and first is not None:
            builder.connect(
                first + i, first + int(tree.children_left[i]), first + int(tree.children_right[i])
            )


def read_boosted(estimator: Any) -> tuple[Forest, Head]:
    """Return gradient boosting: regression trees on top of a constant.

    Raises:
        UnsupportedError: it starts from another estimator than a constant.
    """
    initial = estimator.init_
    if type(initial).__name__ not in ("DummyClassifier", "DummyRegressor") and not isinstance(initial, str):
        raise UnsupportedError(
            f"the boosting starts from a {type(initial).__name__}.",
            next_step="Fit it with init=None or 'zero'.",
        )
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    stages = estimator.estimators_
    classes = getattr(estimator, "classes_", None)
    # Exponential loss: the probability is the logistic function of twice the sum.
    scale = 2.0 if classes is not None and estimator.loss == "exponential" else 1.0
    builder = ForestBuilder(stages.shape[1])
    for stage in stages:
        for target, tree in enumerate(stage):
            _add(builder, tree.tree_, scale * estimator.learning_rate * tree.tree_.value[:, 0, :], target)
    return builder.build(scale * base), _boosted_head(classes, stages.shape[1])


def _boosted_head(classes: Any, targets: int) -> Head:
    if classes is None:
        return Head()
    return Head(link="sigmoid" if targets == 1 else "softmax", classes=class_numbers(classes))


def read_histogram(estimator: Any) -> tuple[Forest, Head]:
    """Return histogram gradient boosting, missing values included.

    Raises:
        UnsupportedError: it splits by categories.
    """
    iterations = estimator._predictors
    targets = len(iterations[0])
    builder = ForestBuilder(targets)
    for trees in iterations:
        for target, tree in enumerate(trees):
            _add_histogram(builder, tree.nodes, target)
    classes = getattr(estimator, "classes_", None)
    head = _boosted_head(classes, targets)
    if classes is None and estimator.loss in ("poisson", "gamma"):
        head = Head(link="exp")
    return builder.build(np.ravel(estimator._baseline_prediction)), head


def _add_histogram(builder: ForestBuilder, nodes: Any, target: int) -> None:
    if nodes["is_categorical"].any():
        raise UnsupportedError(
            "the boosting splits by categories, which have no exact form in this operator set.",
            next_step="Encode them as numbers (OneHotEncoder) and fit again without categorical_features.",
        )
    builder.begin_tree()
    rows = [
        builder.leaf(node["value"], target)
        if node["is_leaf"]
        else builder.split(
            int(node["feature_idx"]),
            round_down(float(node["num_threshold"])),
            bool(node["missing_go_to_left"]),
        )
        for node in nodes
    ]
    for row, node in zip(rows, nodes, strict=True):
        if not node["is_leaf"]:
            builder.connect(row, rows[int(node["left"])], rows[int(node["right"])])
