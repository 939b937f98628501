"""Holds data against the model it is for: names, element types, shapes, finite values, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

__all__ = ["class_count", "fit"]

Array = NDArray[np.generic]


def fit(data: Dataset, description: ModelDescription) -> Dataset:
    """Return the data as the model takes it: inputs in the model's order and element types, labels as
    indices or values.

    Widening and narrowing among integers (when every value fits) and among floats is done and noted;
    anything else that does not match is refused.

    Raises:
        InvalidInputError: names, element types, shapes, values or labels do not fit; one sentence says
        which and how.
    """
    state = data.state or description.state
    _check_state(data.name, state, description)
    specs = [spec for spec in description.inputs if spec.name not in {binding.input for binding in state}]
    arrays, notes = {}, list(data.notes)
    for spec, array in _named(data, specs):
        arrays[spec.name] = _fit_input(
            data.name, spec, array, bool(state), notes, description.takes_missing_values
        )
    fitted = replace(data, inputs=arrays, state=state)
    labels = _fit_labels(fitted, description, notes)
    _check_calibration(data)
    return replace(fitted, labels=labels, notes=tuple(notes))


def _check_state(name: str, state: tuple[StateBinding, ...], description: ModelDescription) -> None:
    inputs, outputs = {s.name for s in description.inputs}, {s.name for s in description.outputs}
    for binding in state:
        if binding.input not in inputs or binding.output not in outputs:
            raise InvalidInputError(
                f"data {name!r}: the state {binding.output} -> {binding.input} is not of this model; "
                f"it has inputs {_list(inputs)} and outputs {_list(outputs)}."
            )


def _named(data: Dataset, specs: list[TensorSpec]) -> list[tuple[TensorSpec, Array]]:
    if len(specs) == len(data.inputs) == 1:
        return [(specs[0], next(iter(data.inputs.values())))]
    wanted = {spec.name for spec in specs}
    missing, extra = wanted - set(data.inputs), set(data.inputs) - wanted
    if missing or extra:
        what = f"lacks {_list(missing)}" if missing else f"has {_list(extra)}, which the model does not take"
        raise InvalidInputError(
            f"data {data.name!r} {what}; the model's inputs are {_list(wanted)}, the data's "
            f"{_list(data.inputs)}."
        )
    return [(spec, data.inputs[spec.name]) for spec in specs]


def _list(names: Mapping[str, object] | set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _fit_input(
    name: str, spec: TensorSpec, array: Array, stepped: bool, notes: list[str], missing: bool
) -> Array:
    _check_shape(name, spec, array, stepped)
    if spec.dtype in ("object", "str", "string") or array.dtype.kind in "OUS":
        return _text(name, spec, array)
    cast = _cast(name, spec, array)
    if cast.dtype != array.dtype:
        notes.append(f"{spec.name}: cast from {array.dtype} to {cast.dtype}")
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        bad = np.isinf(cast) if missing else ~np.isfinite(cast)
        if not bad.any():
            notes.append(
                f"{spec.name}: {int(np.isnan(cast).sum())} missing values, which the model's trees take"
            )
            return cast
        items = int(bad.reshape(len(cast), -1).any(axis=1).sum())
        raise InvalidInputError(
            f"data {name!r}: input {spec.name!r} holds {int(bad.sum())} NaN or infinite values "
            f"in {items} of {len(cast)} items.",
            next_step="Remove those items or fill the gaps.",
        )
    return cast


def _text(name: str, spec: TensorSpec, array: Array) -> Array:
    if spec.dtype not in ("object", "str", "string") or array.dtype.kind not in "OUS":
        raise InvalidInputError(
            f"data {name!r}: input {spec.name!r} is {array.dtype}, the model takes {spec.dtype}."
        )
    return array.astype(np.str_)


def _cast(name: str, spec: TensorSpec, array: Array) -> Array:
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    kinds = (_family(array.dtype), _family(wanted))
    if kinds not in (("integer", "integer"), ("float", "float")):
        hint = "Convert it, and scale it as in training." if kinds == ("integer", "float") else "Convert it."
        raise InvalidInputError(
            f"data {name!r}: input {spec.name!r} is {array.dtype}, the model takes {wanted}.", next_step=hint
        )
    if kinds[0] == "integer":
        limits = np.iinfo(wanted)
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if low < limits.min or high > limits.max:
            raise InvalidInputError(
                f"data {name!r}: input {spec.name!r} has values from {low} to {high}, "
                f"the model's {wanted} holds {limits.min} to {limits.max}."
            )
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _family(dtype: np.dtype[np.generic]) -> str:
    return {"i": "integer", "u": "integer", "f": "float"}.get(dtype.kind, str(dtype))


def _check_shape(name: str, spec: TensorSpec, array: Array, stepped: bool) -> None:
    lead = 1 + stepped
    if array.ndim < lead:
        raise InvalidInputError(
            f"data {name!r}: input {spec.name!r} has shape {array.shape}; a model with state needs "
            "[items, steps, ...]."
        )
    item = array.shape[lead:]
    batched = len(item) == len(spec.shape) - 1 and spec.shape[0] in (-1, 1) and _matches(item, spec.shape[1:])
    if not batched and not _matches(item, spec.shape):
        raise InvalidInputError(
            f"data {name!r}: input {spec.name!r} has items of shape {_shape(item)}, "
            "the model takes "
            f"{_shape(spec.shape)}{' with the batch in front' if spec.shape[:1] == (-1,) else ''}."
        )


def _matches(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("any" if axis == -1 else str(axis) for axis in shape) + "]"


def class_count(spec: TensorSpec) -> int | None:
    """Return how many scores an output has per item; None when its shape or type does not say."""
    item = spec.shape[1:]
    if not spec.shape or -1 in item or not spec.dtype.startswith("float"):
        return None
    return prod(item)


def _fit_labels(data: Dataset, description: ModelDescription, notes: list[str]) -> Array | None:
    if data.labels is None:
        return None
    labels = data.labels
    if labels.dtype.kind in "OUS":
        classes, labels = np.unique(labels.astype(np.str_), return_inverse=True)
        labels = labels.reshape(data.labels.shape)
        notes.append(f"labels: {len(classes)} names, numbered in alphabetical order")
    spec = _output(data, description)
    count = class_count(spec)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise InvalidInputError(f"data {data.name!r}: the labels hold infinite values.")
        whole = count is not None and count >= 2 and labels.ndim <= 1 + bool(data.state)
        if whole and data.task != "regression" and (labels == np.rint(labels)).all():
            labels = labels.astype(np.int64)
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    _check_range(data, labels, spec, count)
    return labels


def _output(data: Dataset, description: ModelDescription) -> TensorSpec:
    if not data.output:
        carried = {binding.output for binding in data.state}
        return next((s for s in description.outputs if s.name not in carried), description.outputs[0])
    for spec in description.outputs:
        if spec.name == data.output:
            return spec
    names = ", ".join(spec.name for spec in description.outputs)
    raise InvalidInputError(
        f"data {data.name!r} is judged by the output {data.output!r}; the model has {names}."
    )


def _check_range(data: Dataset, labels: Array, spec: TensorSpec, count: int | None) -> None:
    if labels.dtype.kind not in "iu" or data.task == "regression" or labels.ndim > 1 + bool(data.state):
        return
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    top = 1 if data.task == "binary" else (count - 1 if count is not None and count >= 2 else None)
    if top is not None and (low < 0 or high > top):
        raise InvalidInputError(
            f"data {data.name!r}: labels run from {low} to {high}, "
            f"output {spec.name!r} of the model has classes 0 to {top}."
        )


def _check_calibration(data: Dataset) -> None:
    wrong = [i for i in data.calibration_indices if not 0 <= i < len(data)]
    if wrong:
        raise InvalidInputError(
            f"data {data.name!r}: calibration index {wrong[0]} is not one of its {len(data)} items."
        )
