"""Random inputs, for a parity-only experiment without data."""

from __future__ import annotations

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import TensorSpec
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription
from edgeloop.evaluate.datasets.base import data_inputs

__all__ = ["random_inputs"]

_STEPS = 16
"""Steps of a random sequence: enough for an error in the carried state to grow visible."""


def random_inputs(description: ModelDescription, *, seed: int, count: int = 64) -> Dataset:
    """Return ``count`` unlabelled items: floats from a standard normal, bytes over their range, other
    integers 0 or 1.

    Zero and one are the integers that every vocabulary, mask and category has. A model with state gets
    sequences of 16 steps, at most 8 of them.

    Raises:
        InvalidInputError: an axis other than the batch is free, or an input takes text: nobody but the user
        knows more.
    """
    rng = np.random.default_rng(seed)
    lead = (min(count, 8), _STEPS) if description.state else (count,)
    inputs = {spec.name: _random(spec, lead, rng) for spec in data_inputs(description)}
    return Dataset(name=f"random inputs, seed {seed}", inputs=inputs, state=description.state)


def _random(spec: TensorSpec, lead: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.generic]:
    item = spec.shape[1:] if spec.shape and spec.shape[0] in (-1, 1) else spec.shape
    if -1 in item:
        raise InvalidInputError(
            f"input {spec.name!r} has a free axis besides the batch, so random inputs cannot be made.",
            next_step="Give data of the size that the model is used with.",
        )
    shape = (*lead, *item)
    if spec.dtype.startswith("float"):
        return rng.standard_normal(shape).astype(spec.dtype)
    if spec.dtype in ("int8", "uint8"):
        limits = np.iinfo(spec.dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=np.dtype(spec.dtype).type, endpoint=True)
    if spec.dtype == "bool" or spec.dtype.startswith(("int", "uint")):
        return rng.integers(0, 2, shape).astype(spec.dtype)
    raise InvalidInputError(
        f"input {spec.name!r} takes {spec.dtype}, which cannot be made at random.", next_step="Give data."
    )
