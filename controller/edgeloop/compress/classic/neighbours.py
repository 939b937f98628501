"""Nearest neighbours as a table and a few standard operators; distances in float64, as scikit-learn takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.classic.heads import INPUT, Head, Nodes, class_numbers, finished

__all__ = ["TABLE", "VOTES", "neighbours_model"]

TABLE = "neighbour_table"
"""Constant ``[neighbours, features]``."""
VOTES = "neighbour_votes"
"""Constant ``[neighbours, targets]``: one for the class of each, or its value."""

_METRICS = {"euclidean": 2, "l2": 2, "manhattan": 1, "l1": 1, "cityblock": 1}


def neighbours_model(estimator: Any) -> Any:
    """Return the ONNX model of a KNeighborsClassifier or KNeighborsRegressor.

    Raises:
        UnsupportedError: a metric or a weighting that is not known, several targets, or a sparse table.
    """
    power = _power(estimator)
    table = estimator._fit_X
    if not isinstance(table, np.ndarray):
        raise UnsupportedError("the neighbours are kept as a sparse matrix.", next_step="Fit on a dense one.")
    if getattr(estimator, "outputs_2d_", False) or np.ndim(estimator._y) > 1:
        raise UnsupportedError("the neighbours have several targets.", next_step="Fit one a target.")
    exact = table.astype(np.float32)
    classes = getattr(estimator, "classes_", None)
    votes = np.eye(len(classes), dtype=np.float32)[estimator._y] if classes is not None else estimator._y
    graph = Nodes()
    # float32 where nothing is lost by it.
    graph.constant(TABLE, exact if (exact == table).all() else table.astype(np.float64))
    graph.constant(VOTES, np.asarray(votes, np.float32).reshape(len(table), -1))
    values = _averaged(graph, power, estimator.n_neighbors, estimator.weights == "distance")
    head = Head(classes=None if classes is None else class_numbers(classes))
    return finished(graph, values, head, estimator.n_features_in_, 1)


def _power(estimator: Any) -> int:
    metric = estimator.effective_metric_
    power = _METRICS.get(metric) if isinstance(metric, str) else None
    if metric == "minkowski":
        power = {1: 1, 2: 2}.get(estimator.effective_metric_params_.get("p", 2))
    if power is None:
        raise UnsupportedError(
            f"neighbours by the metric {metric!r} have no exact form.",
            next_step="Use euclidean or manhattan.",
        )
    if estimator.weights not in ("uniform", "distance", None):
        raise UnsupportedError("neighbours are weighed by a function.", next_step="Use uniform or distance.")
    return power


def _averaged(graph: Nodes, power: int, count: int, by_distance: bool) -> str:
    import onnx

    double = onnx.TensorProto.DOUBLE
    item = graph.add("Cast", [INPUT], "features_wide", to=double)
    item = graph.add("Unsqueeze", [item, graph.constant("axis_1", np.asarray([1]))], "items_apart")
    table = graph.add("Cast", [TABLE], "table_wide", to=double)
    difference = graph.add("Sub", [item, table], "differences")
    if power == 2:
        parts = graph.add("Mul", [difference, difference], "squares")
    else:
        parts = graph.add("Abs", [difference], "magnitudes")
    last = graph.constant("axis_2", np.asarray([2]))
    distance = graph.add("ReduceSum", [parts, last], "distances", keepdims=0)
    graph.constant("count", np.asarray([count], np.int64))
    node = onnx.helper.make_node(
        "TopK", [distance, "count"], ["near", "who"], name="nearest", axis=1, largest=0, sorted=1
    )
    graph.nodes.append(node)
    votes = graph.add("Gather", [VOTES, "who"], "votes_of_near", axis=0)
    votes = graph.add("Cast", [votes], "votes_wide", to=double)
    weights = _weights(graph, power) if by_distance else ""
    if weights:
        weights = graph.add("Unsqueeze", [weights, "axis_2"], "weights_apart")
        votes = graph.add("Mul", [votes, weights], "weighted")
        total = graph.add("ReduceSum", [weights, "axis_1"], "weight_sum", keepdims=0)
    else:
        total = graph.constant("neighbours", np.float64(count))
    summed = graph.add("ReduceSum", [votes, "axis_1"], "vote_sum", keepdims=0)
    mean = graph.add("Div", [summed, total], "vote_share")
    return graph.add("Cast", [mean], "answer", to=onnx.TensorProto.FLOAT)


def _weights(graph: Nodes, power: int) -> str:
    """Return 1 / distance; where a neighbour is at distance 0, only those at 0 count, each once."""
    import onnx

    near = graph.add("Sqrt", ["near"], "near_root") if power == 2 else "near"
    zero = graph.constant("zero", np.float64(0))
    one = graph.constant("one", np.float64(1))
    equal = graph.add("Equal", [near, zero], "is_same")
    same = graph.add("Cast", [equal], "same", to=onnx.TensorProto.DOUBLE)
    any_same = graph.add("ReduceMax", [same], "any_same", axes=[1], keepdims=1)
    safe = graph.add("Where", [equal, one, near], "near_safe")
    inverse = graph.add("Div", [one, safe], "inverse")
    found = graph.add("Greater", [any_same, zero], "found_same")
    return graph.add("Where", [found, same, inverse], "weights")
