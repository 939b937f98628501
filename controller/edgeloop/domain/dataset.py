"""Data that a model is calibrated on, judged by and compared with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Dataset"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Items with their labels, held in memory.

    For a model without state every array is ``[items, ...]``. For a model with state (``state`` not empty) every array
    is ``[items, steps, ...]``: each item is a sequence, the state starts at zero with each item and is carried from
    step to step; inputs that receive state are not among ``inputs``.

    Raises:
        InvalidInputError: no items, or arrays of different lengths, or labels that are not finite.
    """

    #: Name for people.
    name: str
    #: Input name -> array of the element type that the model takes.
    inputs: Mapping[str, NDArray[np.generic]]
    #: Class index (integers), value (floats) or None without labels; ``[items]`` or ``[items, steps]``.
    labels: NDArray[np.generic] | None = None
    #: Source item of each item (views of one photo share one); None when every item stands alone.
    groups: NDArray[np.generic] | None = None
    #: State carried from step to step.
    state: tuple[StateBinding, ...] = ()
    #: "classification", "binary" or "regression"; empty means read it from the labels and the output's shape.
    task: str = ""
    #: Metric to judge by; empty means the task's default (accuracy, roc_auc, mean_absolute_error).
    metric: str = ""
    #: Output that the metric reads; empty means the model's first.
    output: str = ""
    #: Indices of the items meant for calibration; empty means split off a part by seed.
    calibration_indices: tuple[int, ...] = ()
    #: What was done to the data on the way in, for people: casts, cuts, order of classes.
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = {name: len(array) for name, array in self.inputs.items()}
        if not lengths or min(lengths.values()) == 0:
            raise InvalidInputError(f"data {self.name!r} holds no items.")
        for extra, array in (("labels", self.labels), ("groups", self.groups)):
            if array is not None:
                lengths[extra] = len(array)
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InvalidInputError(f"data {self.name!r}: arrays differ in their number of items: {found}.")
        if self.labels is not None and self.labels.dtype.kind == "f":
            missing = int((self.labels != self.labels).sum())
            if missing:
                raise InvalidInputError(
                    f"data {self.name!r}: {missing} of {self.labels.size} labels are NaN.",
                    next_step="Remove those items or label them.",
                )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(next(iter(self.inputs.values())))

    def take(self, indices: NDArray[np.integer] | list[int]) -> Dataset:
        """Return the items at ``indices``, in that order."""
        return replace(
            self,
            inputs={name: array[indices] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
            calibration_indices=(),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over every array and setting."""
        digest = hashlib.sha256(
            repr((self.state, self.task, self.metric, self.output, self.calibration_indices)).encode()
        )
        arrays = {
            **{f"input/{k}": v for k, v in self.inputs.items()},
            "labels": self.labels,
            "groups": self.groups,
        }
        for name, array in sorted(arrays.items()):
            if array is not None:
                digest.update(f"{name} {array.dtype} {array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()
