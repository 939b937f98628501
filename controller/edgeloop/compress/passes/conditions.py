"""Conditions that several passes share."""

from __future__ import annotations

from typing import Any

from edgeloop.compress.passes.base import Condition, PassContext
from edgeloop.domain.model import ModelDescription

__all__ = [
    "CALIBRATED",
    "FULL_PRECISION",
    "HAS_FOREST",
    "HAS_NEIGHBOURS",
    "HAS_PARAMETERS",
    "NOT_A_TREE",
    "NOT_QUANTIZED",
    "has_neighbours",
    "has_tree_operators",
]

_CLASSIC_DOMAIN = "ai.onnx.ml"
_CLASSIC_OPERATORS = (
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "TreeEnsemble",
    "SVMClassifier",
    "SVMRegressor",
    "LinearClassifier",
    "LinearRegressor",
)


def has_tree_operators(model: ModelDescription) -> bool:
    """Return whether the work of a model is in operators of the classic-ML domain, which hold no tensors
    to quantise."""
    return _CLASSIC_DOMAIN in dict(model.opsets) and model.operator_count(*_CLASSIC_OPERATORS) > 0


def has_neighbours(model: ModelDescription) -> bool:
    """Return whether a model looks like nearest neighbours: distances to a table, and the nearest of them."""
    return model.operator_count("TopK") == 1 and model.operator_count("ReduceSum") >= 2


def _quantized(model: ModelDescription, settings: Any, context: PassContext) -> str:
    return "it is quantised already" if model.quantized else ""


def _classic(model: ModelDescription, settings: Any, context: PassContext) -> str:
    return "its work is in ai.onnx.ml operators, which have no int8 form" if has_tree_operators(model) else ""


def _not_full(model: ModelDescription, settings: Any, context: PassContext) -> str:
    if model.precision in ("fp32", "mixed") or model.parameter_count == 0:
        return ""
    return f"its parameters are {model.precision}; quantisation starts from fp32"


def _empty(model: ModelDescription, settings: Any, context: PassContext) -> str:
    return "" if model.parameter_count else "it holds no parameters"


def _no_forest(model: ModelDescription, settings: Any, context: PassContext) -> str:
    return "" if model.operator_count("TreeEnsembleRegressor") == 1 else "it has no summed trees"


def _no_neighbours(model: ModelDescription, settings: Any, context: PassContext) -> str:
    return "" if has_neighbours(model) else "it is no nearest-neighbour model"


def _no_calibration(model: ModelDescription, settings: Any, context: PassContext) -> str:
    return "" if context.calibration is not None else "there is no calibration data"


HAS_FOREST = Condition(
    text="the model holds one sum of trees",
    broken_because=_no_forest,
    advice="Give a forest or boosted trees, or leave the pass out.",
)
HAS_NEIGHBOURS = Condition(
    text="the model is a table of neighbours",
    broken_because=_no_neighbours,
    advice="Give a nearest-neighbour estimator, or leave the pass out.",
)
CALIBRATED = Condition(
    text="there is calibration data",
    broken_because=_no_calibration,
    advice="Give --data with items like those of the field.",
)
NOT_QUANTIZED = Condition(
    text="the model holds no quantised operators",
    broken_because=_quantized,
    advice="Start from the model before it was quantised.",
)
NOT_A_TREE = Condition(
    text="the model is not a tree or another ai.onnx.ml model",
    broken_because=_classic,
    advice="For trees there are prune_forest, limit_depth and drop_features.",
)
FULL_PRECISION = Condition(
    text="the parameters are fp32",
    broken_because=_not_full,
    advice="Start from the model before it was converted.",
)
HAS_PARAMETERS = Condition(
    text="there are parameters",
    broken_because=_empty,
    advice="Leave the pass out: there is nothing to shrink.",
)
