"""Whether a model's numbers are finite, the same when run again, and the same in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.judgement import OutputStability
from edgeloop.evaluate.inference import run_model

__all__ = ["ITEMS", "stability"]

Outputs = Mapping[str, NDArray[np.generic]]

ITEMS = 32
"""Items that are run three times; a multiple of the batch."""

_BATCH = 8


def stability(path: Path, data: Dataset) -> tuple[OutputStability, ...]:
    """Run the first items alone, again, and in batches of 8.

    Raises:
        InvalidInputError: the model fails on an item alone.
    """
    some = data.take(list(range(min(ITEMS, len(data)))))
    single = run_model(path, some, batch_size=1, threads=1)
    again = run_model(path, some, batch_size=1, threads=1)
    stacked = _stacked(path, some)
    return tuple(
        _output(name, values, again[name], stacked.get(name) if stacked else None)
        for name, values in single.items()
        if values.dtype.kind == "f"
    )


def _stacked(path: Path, data: Dataset) -> Outputs | None:
    try:
        return run_model(path, data, batch_size=_BATCH, threads=1)
    except (InvalidInputError, UnsupportedError):
        # A free batch axis is a promise that many exported models do not keep.
        return None


def _output(
    name: str,
    single: NDArray[np.generic],
    again: NDArray[np.generic],
    stacked: NDArray[np.generic] | None,
) -> OutputStability:
    values = single.astype(np.float64)
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max()) if finite.any() else None
    difference = None
    if stacked is not None and stacked.shape == single.shape and largest is not None:
        both = finite & np.isfinite(stacked.astype(np.float64))
        apart = np.abs(stacked.astype(np.float64)[both] - values[both]).max(initial=0.0)
        difference = float(apart / largest) if largest else float(apart)
    return OutputStability(
        output=name,
        value_count=int(values.size),
        nan_count=int(np.isnan(values).sum()),
        infinite_count=int(np.isinf(values).sum()),
        largest=largest,
        batch_difference=difference,
        repeatable=single.tobytes() == again.tobytes(),
    )
