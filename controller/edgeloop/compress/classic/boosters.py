"""XGBoost, LightGBM and CatBoost ensembles as one forest, each read from its library's own description."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.classic.forest import Forest, ForestBuilder, below, round_down
from edgeloop.compress.classic.heads import Head, class_numbers

__all__ = ["read_catboost", "read_lightgbm", "read_xgboost"]

_CATEGORIES = "Encode categories as numbers (one column each) and fit again."


def read_xgboost(model: Any) -> tuple[Forest, Head, int]:
    """Return forest, head and number of features of an XGBoost estimator or Booster.

    Raises:
        UnsupportedError: not made of trees, a categorical split, or an objective that is not known.
    """
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(booster.save_raw("json"))["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind not in ("gbtree", "dart"):
        raise UnsupportedError(f"the XGBoost booster {kind!r} is not made of trees.", next_step="Use gbtree.")
    held = learner["gradient_booster"]
    weights = held.get("weight_drop") or [1.0] * 1_000_000
    inner = (held["gbtree"] if kind == "dart" else held)["model"]
    targets = max(1, int(learner["learner_model_param"]["num_class"]))
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        raise UnsupportedError("the XGBoost model has several targets.", next_step="Fit one a target.")
    builder = ForestBuilder(targets)
    for place in range(_last_tree(model, inner)):
        _add_xgboost(builder, inner["trees"][place], int(inner["tree_info"][place]), float(weights[place]))
    base = np.asarray(json.loads(learner["learner_model_param"]["base_score"]), np.float64)
    head, margin = _xgboost_head(
        learner["objective"]["name"], base, getattr(model, "classes_", None), targets
    )
    return builder.build(margin), head, int(learner["learner_model_param"]["num_feature"])


def _last_tree(model: Any, inner: dict[str, Any]) -> int:
    """Return how many trees answer: up to the best iteration after early stopping, as the estimator does."""
    best = model.best_iteration if getattr(model, "early_stopping_rounds", None) else None
    return int(inner["iteration_indptr"][best + 1]) if best is not None else len(inner["trees"])


def _add_xgboost(builder: ForestBuilder, tree: dict[str, Any], target: int, weight: float) -> None:
    if any(tree["split_type"]):
        raise UnsupportedError("the XGBoost model splits by categories.", next_step=_CATEGORIES)
    builder.begin_tree()
    rows = []
    for left, feature, value, default in zip(
        tree["left_children"],
        tree["split_indices"],
        tree["split_conditions"],
        tree["default_left"],
        strict=True,
    ):
        leaf = left < 0
        rows.append(
            builder.leaf(weight * value, target)
            if leaf
            else builder.split(int(feature), below(value), bool(default))
        )
    for row, left, right in zip(rows, tree["left_children"], tree["right_children"], strict=True):
        if left >= 0:
            builder.connect(row, rows[left], rows[right])


def _xgboost_head(objective: str, base: Any, classes: Any, targets: int) -> tuple[Head, Any]:
    numbers = class_numbers(classes if classes is not None else np.arange(max(2, targets)))
    if objective in ("binary:logistic", "binary:logitraw"):
        margin = np.log(base / (1 - base)) if objective == "binary:logistic" else base
        return Head(link="sigmoid", classes=numbers), margin
    if objective in ("multi:softprob", "multi:softmax"):
        return Head(link="softmax", classes=numbers), base
    if objective in ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"):
        return Head(), base
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        return Head(link="exp"), np.log(base)
    if objective == "reg:logistic":
        return Head(link="sigmoid"), np.log(base / (1 - base))
    raise UnsupportedError(f"the XGBoost objective {objective!r} has no known form.", next_step=_OBJECTIVE)


_OBJECTIVE = "Fit with a usual objective (logistic, softprob, squared error, poisson)."


def read_lightgbm(model: Any) -> tuple[Forest, Head, int]:
    """Return forest, head and number of features of a LightGBM estimator or Booster.

    Raises:
        UnsupportedError: a categorical or linear tree, zeros as missing values, or an unknown objective.
    """
    booster = getattr(model, "booster_", model)
    best = booster.best_iteration if booster.best_iteration > 0 else None
    dump = booster.dump_model(num_iteration=best)
    per_iteration = int(dump["num_tree_per_iteration"])
    builder = ForestBuilder(per_iteration)
    for place, tree in enumerate(dump["tree_info"]):
        builder.begin_tree()
        _add_lightgbm(builder, tree["tree_structure"], place % per_iteration)
    divisor = len(dump["tree_info"]) / per_iteration if dump["average_output"] else 1.0
    head, scale = _lightgbm_head(
        str(dump.get("objective", "")), getattr(model, "classes_", None), per_iteration
    )
    forest = builder.build()
    if scale != 1.0:
        divisor /= scale
    head = Head(link=head.link, classes=head.classes, divisor=divisor)
    return forest, head, int(dump["max_feature_idx"]) + 1


def _add_lightgbm(builder: ForestBuilder, node: dict[str, Any], target: int) -> int:
    if "split_feature" not in node:
        if node.get("leaf_coeff"):
            raise UnsupportedError(
                "the LightGBM trees have linear leaves.", next_step="Fit without linear_tree."
            )
        return builder.leaf(node["leaf_value"], target)
    if node["decision_type"] != "<=":
        raise UnsupportedError("the LightGBM model splits by categories.", next_step=_CATEGORIES)
    if node["missing_type"] == "Zero":
        raise UnsupportedError(
            "the LightGBM model reads zeros as missing.", next_step="Fit with zero_as_missing=False."
        )
    # Without missing values in training LightGBM reads NaN as 0.
    zero_goes_left = node["threshold"] >= 0.0
    missing = node["default_left"] if node["missing_type"] == "NaN" else zero_goes_left
    row = builder.split(int(node["split_feature"]), round_down(node["threshold"]), bool(missing))
    left = _add_lightgbm(builder, node["left_child"], target)
    builder.connect(row, left, _add_lightgbm(builder, node["right_child"], target))
    return row


def _lightgbm_head(objective: str, classes: Any, targets: int) -> tuple[Head, float]:
    """Return the head and what the sum is multiplied with before the link."""
    name, *rest = objective.split()
    settings = dict(part.split(":", 1) for part in rest if ":" in part)
    numbers = class_numbers(classes if classes is not None else np.arange(max(2, targets)))
    if name == "binary":
        return Head(link="sigmoid", classes=numbers), float(settings.get("sigmoid", "1"))
    if name == "multiclass":
        return Head(link="softmax", classes=numbers), 1.0
    if name in ("regression", "regression_l1", "huber", "fair", "quantile", "mape") and "sqrt" not in rest:
        return Head(), 1.0
    if name in ("poisson", "gamma", "tweedie"):
        return Head(link="exp"), 1.0
    raise UnsupportedError(f"the LightGBM objective {objective!r} has no known form.", next_step=_OBJECTIVE)


def read_catboost(model: Any) -> tuple[Forest, Head, int]:
    """Return forest, head and number of features of a CatBoost model.

    Raises:
        UnsupportedError: categories, text, trees that are not symmetric, or an unknown loss.
    """
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as name:
        path = Path(name) / "model.json"
        model.save_model(str(path), format="json")
        tree_model = json.loads(path.read_text())
    info = tree_model["features_info"]
    if set(info) - {"float_features"}:
        raise UnsupportedError("the CatBoost model takes categories or text.", next_step=_CATEGORIES)
    if "oblivious_trees" not in tree_model:
        raise UnsupportedError("the CatBoost trees are not symmetric.", next_step="Fit with SymmetricTree.")
    missing_high = {f["feature_index"]: f["nan_value_treatment"] == "AsTrue" for f in info["float_features"]}
    columns = {f["feature_index"]: f["flat_feature_index"] for f in info["float_features"]}
    scale, bias = tree_model["scale_and_bias"]
    builder = ForestBuilder(max(1, len(np.atleast_1d(bias))))
    for tree in tree_model["oblivious_trees"]:
        _add_catboost(builder, tree, float(scale), columns, missing_high)
    return builder.build(bias), _catboost_head(model), len(columns)


def _add_catboost(
    builder: ForestBuilder,
    tree: dict[str, Any],
    scale: float,
    columns: dict[int, int],
    missing_high: dict[int, bool],
) -> None:
    splits = tree["splits"] or []
    values = scale * np.asarray(tree["leaf_values"], np.float64).reshape(2 ** len(splits), -1)
    builder.begin_tree()

    def grow(level: int, leaf: int) -> int:
        if level < 0:
            return builder.leaf(values[leaf])
        split = splits[level]
        feature = split["float_feature_index"]
        row = builder.split(columns[feature], round_down(split["border"]), not missing_high[feature])
        low = grow(level - 1, leaf)
        builder.connect(row, low, grow(level - 1, leaf + 2**level))
        return row

    grow(len(splits) - 1, 0)


def _catboost_head(model: Any) -> Head:
    loss = str(model.get_all_params().get("loss_function", "RMSE")).partition(":")[0]
    classes = model.classes_ if len(model.classes_) else None
    if loss in ("Logloss", "CrossEntropy"):
        return Head(link="sigmoid", classes=class_numbers(classes if classes is not None else [0, 1]))
    if loss == "MultiClass" and classes is not None:
        return Head(link="softmax", classes=class_numbers(classes))
    if loss in ("RMSE", "MAE", "Quantile", "Huber", "LogCosh", "MAPE"):
        return Head()
    if loss in ("Poisson", "Tweedie"):
        return Head(link="exp")
    raise UnsupportedError(f"the CatBoost loss {loss!r} has no known form.", next_step=_OBJECTIVE)
