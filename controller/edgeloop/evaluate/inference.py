"""Runs a model file over data on the host processor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.tflite_session import TfLiteSession

__all__ = ["run_model"]

Array = NDArray[np.generic]

_BATCH = 8
"""Larger stacks leave the processor's cache: at 16 a 4 ms model took half as long again per item as at 8."""

_SAME = 1e-4
"""Largest difference, relative to the output's largest magnitude, at which a batch counts as equal to
single items:
above the rounding of another order of sums (1e-6), below what one range over a whole batch does (1e-2)."""


def run_model(model_path: Path, data: Dataset, *, batch_size: int = 0, threads: int = 0) -> dict[str, Array]:
    """Return output name -> ``[items, ...]``, or ``[items, steps, ...]`` with state; outputs that are state
    are left out.

    An item is fed at batch 1: an array with the input's rank gives a slice ``[i:i+1]``, an array with one
    axis more gives ``[i]``. State starts at zero with each item and is carried from step to step.

    Args:
        model_path: ONNX file, or a TFLite file (``.tflite``), which LiteRT runs.
        data: items with the model's inputs; further inputs are passed over.
        batch_size: 1 feeds item by item; 0 stacks items where the model takes it *and* the first stack
        gives the answers
            of its single items (quantisation that takes its range from the whole batch does not); other
            numbers stack that many wherever the model takes it.
        threads: threads within one operator; 0 lets the runtime choose.

    Raises:
        InvalidInputError: an input is missing, or the model fails on an item.
        UnsupportedError: the runtime cannot load the model, or outputs differ in shape between items.
    """
    runner = _Runner.open(model_path, data, threads)
    count = len(data)
    if batch_size == 1 or count == 1 or not runner.stackable:
        return runner.run(count, 1)
    if batch_size:
        return runner.run(count, batch_size)
    return runner.run(count, _BATCH if _stacks_alike(runner, min(_BATCH, count)) else 1)


def _stacks_alike(runner: _Runner, count: int) -> bool:
    single = runner.run(count, 1)
    try:
        stacked = runner.run(count, count)
    except (InvalidInputError, UnsupportedError):
        # A free batch axis is a promise that many exported models do not keep.
        return False
    return all(_alike_output(stacked[name], single[name]) for name in single)


def _alike_output(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool((a == b).all())
    reference = b.astype(np.float64)
    scale = float(np.abs(reference).max(initial=0.0))
    difference: float = np.abs(a.astype(np.float64) - reference).max(initial=0.0)
    return bool(np.isfinite(difference)) and difference <= _SAME * scale


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One input of the session with the array that feeds it."""

    name: str
    array: Array
    #: Whether items are slices ``[i:i+1]`` (the first axis is the batch) or whole feeds ``[i]``.
    sliced: bool
    #: Whether items may be stacked: the batch axis is free, or every item feeds the same.
    stackable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """One carried tensor."""

    input: str
    output: str
    shape: tuple[int | None, ...]
    dtype: str

    def zero(self, batch: int) -> Array:
        return np.zeros([batch if axis is None else axis for axis in self.shape], self.dtype)


class _Runner:
    """A session with its feeds."""

    def __init__(self, session: Any, name: str, inputs: Sequence[_Input], states: Sequence[_State]) -> None:
        self._session, self._name = session, name
        self._inputs, self._states = inputs, states
        self._carried = [state.output for state in states]
        known = [output.name for output in session.get_outputs()]
        self._outputs = [output for output in known if output not in self._carried]

    @classmethod
    def open(cls, model_path: Path, data: Dataset, threads: int) -> _Runner:
        session = _session(model_path, threads)
        nodes = {node.name: node for node in session.get_inputs()}
        bound = {binding.input: binding.output for binding in data.state}
        inputs = [_input(node, data) for name, node in nodes.items() if name not in bound]
        states = [
            _State(input=name, output=bound[name], shape=_dims(node), dtype=_dtype(node))
            for name, node in nodes.items()
            if name in bound
        ]
        return cls(session, model_path.name, inputs, states)

    @property
    def stackable(self) -> bool:
        """Whether several items fit into one call."""
        return (
            any(i.sliced for i in self._inputs)
            and all(i.stackable for i in self._inputs)
            and all(s.shape.count(None) == 1 for s in self._states)
        )

    def run(self, count: int, batch: int) -> dict[str, Array]:
        """Return the outputs of the first ``count`` items, ``batch`` at a time."""
        pieces: dict[str, list[Array]] = {name: [] for name in self._outputs}
        for start in range(0, count, batch):
            stop = min(start + batch, count)
            answers = self._sequence(start, stop) if self._states else self._call(start, stop, None, {})[0]
            for name, answer in zip(self._outputs, answers, strict=True):
                pieces[name].append(answer)
        return {name: self._joined(name, parts, count) for name, parts in pieces.items()}

    def _joined(self, name: str, parts: list[Array], count: int) -> Array:
        if sum(len(part) for part in parts) != count:
            raise UnsupportedError(
                f"{self._name}: output {name!r} holds no answer per item when items are stacked.",
                next_step="Run it with batch_size=1.",
            )
        if len({part.shape[1:] for part in parts}) != 1:
            raise UnsupportedError(
                f"{self._name}: output {name!r} has another shape for each item, so items cannot be "
                "compared.",
                next_step="Use items of one size, or a model without that output.",
            )
        return np.concatenate(parts)

    def _sequence(self, start: int, stop: int) -> list[Array]:
        steps = {i.array.shape[1] for i in self._inputs}
        if len(steps) != 1:
            raise InvalidInputError(
                f"{self._name}: the inputs have different numbers of steps: {sorted(steps)}."
            )
        state = {s.input: s.zero(stop - start) for s in self._states}
        record: list[list[Array]] = []
        for step in range(steps.pop()):
            answers, carried = self._call(start, stop, step, state)
            state = {s.input: value for s, value in zip(self._states, carried, strict=True)}
            record.append(answers)
        return [np.stack(answers, axis=1) for answers in zip(*record, strict=True)]

    def _call(
        self, start: int, stop: int, step: int | None, state: dict[str, Array]
    ) -> tuple[list[Array], list[Array]]:
        """Return the outputs per item, and the next state in the order of the states."""
        feeds = {i.name: _feed(i, start, stop, step) for i in self._inputs} | state
        try:
            answers = self._session.run([*self._outputs, *self._carried], feeds)
        # onnxruntime's exceptions share no base class of their own.
        except Exception as error:
            raise InvalidInputError(
                f"{self._name} fails on item {start} of the data: {str(error).strip().splitlines()[-1]}."
            ) from error
        plain = answers[: len(self._outputs)]
        return [self._per_item(np.asarray(a), stop - start) for a in plain], answers[len(self._outputs) :]

    def _per_item(self, answer: Array, count: int) -> Array:
        """Return ``[count, ...]``: the batch axis where there is one, else a new axis for the single item."""
        if any(i.sliced for i in self._inputs) and answer.ndim and answer.shape[0] == count:
            return answer
        if count == 1:
            return answer[None]
        return np.empty((0,))


def _feed(source: _Input, start: int, stop: int, step: int | None) -> Array:
    block = source.array[start:stop] if step is None else source.array[start:stop, step]
    return block if source.sliced else np.asarray(block[0])


def _session(model_path: Path, threads: int) -> Any:
    if model_path.suffix == ".tflite":
        return TfLiteSession(model_path, threads)
    # Opt-out of the runtime's telemetry; must precede its import.
    os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions share no base class of their own.
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedError(
            f"onnxruntime {onnxruntime.__version__} cannot load {model_path.name}: {reason}."
        ) from error


def _input(node: Any, data: Dataset) -> _Input:
    if node.name not in data.inputs:
        raise InvalidInputError(
            f"data {data.name!r} lacks the input {node.name!r}; it has {', '.join(data.inputs)}."
        )
    array = data.inputs[node.name]
    rank = array.ndim - bool(data.state)
    dims = _dims(node)
    # A session reports no axes both for a scalar and for an unknown rank; only the first is fed item by item.
    sliced = rank == len(dims) or (not dims and rank > 1)
    stackable = (not dims or dims[0] is None) if sliced else bool((array == array[:1]).all())
    return _Input(name=node.name, array=array, sliced=sliced, stackable=stackable)


def _dims(node: Any) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) and axis >= 0 else None for axis in node.shape)


def _dtype(node: Any) -> str:
    inner = str(node.type).removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)
