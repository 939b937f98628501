"""Trees as arrays, how they answer, and their place in an ONNX file.

Every split asks ``x <= threshold`` in float32. Libraries that compare a float32 value with a 64-bit threshold are
reproduced exactly by rounding the threshold down, those that ask ``x < threshold`` by the next smaller float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.graph import attribute

__all__ = ["Forest", "ForestBuilder", "below", "find_forest", "round_down", "tree_node"]

OPERATOR = "TreeEnsembleRegressor"
_DOMAIN = "ai.onnx.ml"
_LEAF = b"LEAF"
_SPLIT = b"BRANCH_LEQ"


def round_down(threshold: float) -> float:
    """Return the largest float32 that is not above ``threshold``."""
    with np.errstate(over="ignore"):
        nearest = np.float32(threshold)
    # As Python floats: beside a float32 NumPy would round the threshold first and call them equal.
    return float(
        nearest if float(nearest) <= float(threshold) else np.nextafter(nearest, np.float32(-np.inf))
    )


def below(threshold: float) -> float:
    """Return the largest float32 strictly below a float32."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest:
    """Nodes of all trees in one table; rows of one tree are consecutive, its root first.

    Raises:
        InvalidInputError: the arrays do not belong together.
    """

    #: Row of each tree's root, ``[trees]``.
    roots: NDArray[np.int64]
    #: Feature asked, ``[nodes]``; 0 for leaves.
    feature: NDArray[np.int64]
    #: ``x <= threshold`` goes to ``yes``, ``[nodes]``.
    threshold: NDArray[np.float32]
    #: Row of the child taken when the answer is yes, ``[nodes]``; -1 for leaves.
    yes: NDArray[np.int64]
    #: Row of the other child.
    no: NDArray[np.int64]
    #: Whether a missing value goes to ``yes``, ``[nodes]``.
    missing_yes: NDArray[np.bool_]
    #: What each leaf adds to each target, ``[nodes, targets]``; zeros for splits.
    values: NDArray[np.float32]
    #: What is added to the sum over all trees, ``[targets]``.
    base: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.feature)
        same = (self.threshold, self.yes, self.no, self.missing_yes, self.values)
        if any(len(array) != count for array in same) or not len(self.roots) or self.roots[0] != 0:
            raise InvalidInputError("the arrays of a forest have different lengths or no first tree.")
        if self.base.shape != self.values.shape[1:] or not np.isfinite(self.values).all():
            raise InvalidInputError("the leaves of a forest are not finite, or do not fit its base.")

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Which rows are leaves."""
        leaf: NDArray[np.bool_] = self.yes < 0
        return leaf

    def leaves(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the leaf that each item reaches in each tree, ``[items, trees]``."""
        at = np.tile(self.roots, (len(x), 1))
        item = np.arange(len(x))[:, None]
        while not self.is_leaf[at].all():
            value = x[item, self.feature[at]]
            goes = np.where(np.isnan(value), self.missing_yes[at], value <= self.threshold[at])
            at = np.where(self.is_leaf[at], at, np.where(goes, self.yes[at], self.no[at]))
        return at

    def visits(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return through how many items' paths each node lies, ``[nodes]``."""
        counts = np.bincount(self.leaves(x).ravel(), minlength=len(self.feature)).astype(np.int64)
        # Children stand behind their parent in every writer here, so one backward sweep sums them up.
        for row in range(len(counts) - 1, -1, -1):
            if self.yes[row] >= 0:
                counts[row] = counts[self.yes[row]] + counts[self.no[row]]
        return counts

    def raw(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the sums over all trees, ``[items, targets]``."""
        total: NDArray[np.float64] = self.values.astype(np.float64)[self.leaves(x)].sum(axis=1) + self.base
        return total

    def keep_trees(self, trees: NDArray[np.int64]) -> Forest:
        """Return the forest of these trees alone."""
        builder = ForestBuilder(self.values.shape[1])
        for tree in trees.tolist():
            builder.copy(self, int(self.roots[tree]))
        return replace(builder.build(), base=self.base)


class ForestBuilder:
    """Collects trees node by node."""

    def __init__(self, targets: int) -> None:
        self._targets = targets
        self._roots: list[int] = []
        self._rows: list[list[Any]] = []
        self._values: list[NDArray[np.float32]] = []

    def begin_tree(self) -> None:
        """Start the next tree; its first node is the root."""
        self._roots.append(len(self._rows))

    def leaf(self, values: Any, target: int | None = None) -> int:
        """Add a leaf and return its row; with ``target`` one value, else one for each target."""
        filled = np.zeros(self._targets, np.float32)
        filled[slice(None) if target is None else target] = values
        self._rows.append([0, 0.0, -1, -1, False])
        self._values.append(filled)
        return len(self._rows) - 1

    def split(self, feature: int, threshold: float, missing_yes: bool) -> int:
        """Add a split and return its row; its children follow by :meth:`connect`."""
        self._rows.append([feature, threshold, 0, 0, missing_yes])
        self._values.append(np.zeros(self._targets, np.float32))
        return len(self._rows) - 1

    def connect(self, row: int, yes: int, no: int) -> None:
        """Name the children of a split."""
        self._rows[row][2:4] = yes, no

    def copy(self, forest: Forest, root: int) -> None:
        """Add a tree of another forest."""
        self.begin_tree()
        pending = [(root, -1, True)]
        while pending:
            row, parent, is_yes = pending.pop()
            if forest.yes[row] < 0:
                added = self.leaf(forest.values[row])
            else:
                added = self.split(
                    int(forest.feature[row]), float(forest.threshold[row]), bool(forest.missing_yes[row])
                )
                pending += [(int(forest.no[row]), added, False), (int(forest.yes[row]), added, True)]
            if parent >= 0:
                self._rows[parent][2 if is_yes else 3] = added

    def build(self, base: Any = 0.0) -> Forest:
        """Return the forest; ``base`` is one value or one for each target.

        Raises:
            InvalidInputError: there is no tree.
        """
        if not self._rows:
            raise InvalidInputError("the ensemble holds no tree.", next_step="Fit it with at least one.")
        feature, threshold, yes, no, missing = zip(*self._rows, strict=True)
        return Forest(
            roots=np.asarray(self._roots, np.int64),
            feature=np.asarray(feature, np.int64),
            threshold=np.asarray(threshold, np.float32),
            yes=np.asarray(yes, np.int64),
            no=np.asarray(no, np.int64),
            missing_yes=np.asarray(missing, np.bool_),
            values=np.stack(self._values),
            base=np.broadcast_to(np.asarray(base, np.float32), (self._targets,)).copy(),
        )


def tree_node(forest: Forest, source: str, target: str) -> Any:
    """Return the ONNX node that sums the trees: ``[items, features]`` to ``[items, targets]``."""
    import onnx

    sizes = np.diff(np.append(forest.roots, len(forest.feature)))
    tree = np.repeat(np.arange(len(sizes)), sizes)
    start = forest.roots[tree]
    leaf = np.flatnonzero(forest.is_leaf)
    rows, targets = np.nonzero(forest.values[leaf])
    # A leaf without any entry would be refused; a zero for its first target says the same.
    empty = np.setdiff1d(np.arange(len(leaf)), rows)
    rows, targets = np.append(rows, empty), np.append(targets, np.zeros(len(empty), np.int64))
    order = np.lexsort((targets, rows))
    rows, targets = leaf[rows[order]], targets[order]
    splits = ~forest.is_leaf
    return onnx.helper.make_node(
        OPERATOR,
        [source],
        [target],
        name="trees",
        domain=_DOMAIN,
        n_targets=forest.values.shape[1],
        aggregate_function="SUM",
        base_values=forest.base.tolist(),
        nodes_treeids=tree.tolist(),
        nodes_nodeids=(np.arange(len(tree)) - start).tolist(),
        nodes_featureids=forest.feature.tolist(),
        nodes_modes=[_SPLIT if split else _LEAF for split in splits.tolist()],
        nodes_values=forest.threshold.tolist(),
        nodes_truenodeids=np.where(splits, forest.yes - start, 0).tolist(),
        nodes_falsenodeids=np.where(splits, forest.no - start, 0).tolist(),
        nodes_missing_value_tracks_true=forest.missing_yes.astype(int).tolist(),
        target_treeids=tree[rows].tolist(),
        target_nodeids=(rows - start[rows]).tolist(),
        target_ids=targets.tolist(),
        target_weights=forest.values[rows, targets].tolist(),
    )


def find_forest(model: Any) -> tuple[Any, Forest]:
    """Return a model's one tree operator and what it holds.

    Raises:
        UnsupportedError: it has none or several, or they are not sums of ``x <= threshold`` trees.
    """
    found = [n for n in model.graph.node if n.domain == _DOMAIN and n.op_type == OPERATOR]
    if len(found) != 1:
        raise UnsupportedError(
            f"trees are changed in models with one {OPERATOR}; this one has {len(found)}.",
            next_step="Give the fitted estimator (file.py:function); it is written in that form.",
        )
    modes = attribute(found[0], "nodes_modes", [])
    summed = attribute(found[0], "aggregate_function", b"SUM") in (b"SUM", "SUM")
    if not summed or {bytes(mode) for mode in modes} - {_LEAF, _SPLIT}:
        raise UnsupportedError("trees are changed where they are summed and every split asks x <= threshold.")
    return found[0], _parsed(found[0], np.asarray([bytes(mode) == _LEAF for mode in modes]))


def _parsed(node: Any, leaf: NDArray[np.bool_]) -> Forest:
    tree = np.asarray(attribute(node, "nodes_treeids", []), np.int64)
    ids = np.asarray(attribute(node, "nodes_nodeids", []), np.int64)
    row_of = {pair: row for row, pair in enumerate(zip(tree.tolist(), ids.tolist(), strict=True))}
    targets = int(attribute(node, "n_targets", 1))

    def children(name: str) -> NDArray[np.int64]:
        named = zip(tree.tolist(), attribute(node, name, []), leaf.tolist(), strict=True)
        return np.asarray([-1 if is_leaf else row_of[(t, child)] for t, child, is_leaf in named], np.int64)

    values = np.zeros((len(tree), targets), np.float32)
    entries = zip(
        attribute(node, "target_treeids", []),
        attribute(node, "target_nodeids", []),
        attribute(node, "target_ids", []),
        attribute(node, "target_weights", []),
        strict=True,
    )
    for t, n, target, weight in entries:
        values[row_of[(t, n)], target] += weight
    base = attribute(node, "base_values", [])
    missing = attribute(node, "nodes_missing_value_tracks_true", []) or [0] * len(tree)
    return Forest(
        roots=np.flatnonzero(np.diff(tree, prepend=-1) != 0).astype(np.int64),
        feature=np.asarray(attribute(node, "nodes_featureids", []), np.int64),
        threshold=np.asarray(attribute(node, "nodes_values", []), np.float32),
        yes=children("nodes_truenodeids"),
        no=children("nodes_falsenodeids"),
        missing_yes=np.asarray(missing, np.bool_),
        values=values,
        base=np.asarray(base, np.float32) if len(base) else np.zeros(targets, np.float32),
    )
