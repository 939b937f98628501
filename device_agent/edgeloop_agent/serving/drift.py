"""Sketches of what goes in and out of a served model, held against its golden pack: counts per bin, no value.

Edges are the golden pack's smallest and largest element and its deciles between: at most 13 bins, of which the first is
for what is smaller, the last but one for what is larger and the last for what is no finite number. An edge comes from
the golden pack and never from a request, and not even the edges leave the process. Of a large tensor some hundred
elements are counted, from another offset at each request.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from edgeloop_foundation.statistics.drift import stability_index
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.telemetry import DriftSketch

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.golden import GoldenPack
from edgeloop_agent.serving.tensors import Array

__all__ = ["BINS_MAX", "DriftWatch", "watch_of"]

BINS_MAX = 13
"""Below, ten between deciles, above, and no finite number."""

_ELEMENTS_MAX = 1024
_TENSORS_MAX = 16
_ITEMS_MIN, _ITEMS_MAX = 8, 512
_SPLITS = 16


class _Tensor:
    """The bins of one tensor, and what fell into them."""

    def __init__(self, name: str, items: Sequence[Array], *, is_output: bool) -> None:
        self.name, self.is_output = name, is_output
        values = [_finite(item) for item in items]
        pooled = np.concatenate(values)
        edges = np.unique(np.quantile(pooled, np.linspace(0, 1, 11)))
        # The largest golden element itself is not above it.
        edges[-1] = np.nextafter(edges[-1], np.inf)
        self._edges = edges
        by_item = np.stack([self.binned(item) for item in items])
        self.expected = by_item.sum(axis=0)
        self.counts = np.zeros_like(self.expected)
        self.row_count = 0
        self.reference_psi = _spread(by_item)

    def binned(self, values: Array) -> Array:
        """Return how many elements fall into each bin."""
        flat = np.asarray(values, np.float64).ravel()
        finite = flat[np.isfinite(flat)]
        inside = np.bincount(
            np.searchsorted(self._edges, finite, side="right"), minlength=len(self._edges) + 1
        )
        return np.append(inside, flat.size - finite.size).astype(np.int64)

    def sketch(self) -> DriftSketch:
        return DriftSketch(
            tensor=self.name,
            is_output=self.is_output,
            expected=tuple(map(int, self.expected)),
            counts=tuple(map(int, self.counts)),
            row_count=self.row_count,
            reference_psi=self.reference_psi,
        )


def _finite(item: Array) -> Array:
    flat = np.asarray(item, np.float64).ravel()
    return flat[np.isfinite(flat)]


def _spread(by_item: Array) -> float:
    """Return the largest stability index between random halves of the items: what the choice of items alone does."""
    random, found = np.random.default_rng(0), 0.0
    for _ in range(_SPLITS):
        order = random.permutation(len(by_item))
        first, second = (by_item[half].sum(axis=0) for half in np.array_split(order, 2))
        found = max(found, stability_index([int(n) for n in first], [int(n) for n in second]))
    return found


class DriftWatch:
    """The sketches of one version.

    Args:
        tensors: the bins; empty when the version cannot be watched.
        reason: why not, or why not all of it.
    """

    def __init__(self, tensors: Sequence[_Tensor], reason: str) -> None:
        self._tensors, self.reason = tuple(tensors), reason
        self._lock = threading.Lock()
        self._random = np.random.default_rng()

    def add(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Count one answered request; the arrays are not kept."""
        found = []
        for tensor in self._tensors:
            array = (outputs if tensor.is_output else feeds)[tensor.name]
            rows = array.shape[0] if array.ndim else 1
            found.append((tensor, tensor.binned(self._some(array, rows)), rows))
        with self._lock:
            for tensor, counts, rows in found:
                tensor.counts += counts
                tensor.row_count += rows

    def _some(self, array: Array, rows: int) -> Array:
        step = -(-array.size // (_ELEMENTS_MAX * max(1, rows)))
        return array.ravel()[int(self._random.integers(step)) :: step] if step > 1 else array

    def sketches(self) -> tuple[DriftSketch, ...]:
        """Return the counts so far."""
        with self._lock:
            return tuple(tensor.sketch() for tensor in self._tensors)


def watch_of(artifact: Artifact, golden: GoldenPack) -> DriftWatch:
    """Return a watch over every input and output that the golden pack has enough of.

    Args:
        artifact: the manifest.
        golden: its pack, all items.
    """
    if artifact.state:
        return DriftWatch((), "drift is not watched: the model carries state from step to step")
    if golden.item_count < _ITEMS_MIN:
        return DriftWatch(
            (), f"drift is not watched: the golden pack has {golden.item_count} items of {_ITEMS_MIN}"
        )
    tensors: list[_Tensor] = []
    reasons: list[str] = []
    count = min(golden.item_count, _ITEMS_MAX)
    try:
        references = golden.references("host")
        feeds = [golden.feed(item, 0) for item in range(count)]
    except RunnerFailure as failure:
        return DriftWatch((), f"drift is not watched: {failure.reason}")
    sources = [(spec.name, False, [feed[spec.name] for feed in feeds]) for spec in artifact.inputs]
    sources += [(name, True, list(array[:count])) for name, array in references.items()]
    for name, is_output, items in sources[:_TENSORS_MAX]:
        if any(np.isfinite(np.asarray(item, np.float64)).any() for item in items):
            tensors.append(_Tensor(name, items, is_output=is_output))
        else:
            reasons.append(f"the golden pack has no finite number for {name!r}")
    if len(sources) > _TENSORS_MAX:
        reasons.append(f"of {len(sources)} tensors {_TENSORS_MAX} are watched")
    return DriftWatch(tensors, "; ".join(reasons))
