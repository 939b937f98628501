"""Feeding a model item by item, state included; items on disk as one npz without pickles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec

from edgeloop.domain.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Feed",
    "Outputs",
    "check_items",
    "feeds_of",
    "first_feed",
    "read_arrays",
    "read_items",
    "run_items",
    "synthetic_feed",
    "write_arrays",
    "write_items",
]

Feed = dict[str, "NDArray[np.generic]"]
"""Input name -> array as the runtime takes it, at batch 1."""

Outputs = dict[str, "NDArray[np.generic]"]
"""Output name -> array of one inference."""

_INPUT = "input/"


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as npz.

    Raises:
        InvalidInputError: an array holds Python objects, which npz would pickle.
    """
    import numpy as np

    for name, array in arrays.items():
        if np.asarray(array).dtype.kind == "O":
            raise InvalidInputError(f"array {name!r} holds Python objects; expected numbers.")
    with path.open("wb") as file:
        np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of an npz."""
    import numpy as np

    with np.load(path, allow_pickle=False) as pack:
        return {name: pack[name] for name in pack.files}


def write_items(path: Path, data: Dataset) -> None:
    """Write the inputs of ``data`` as ``input/<name>``."""
    write_arrays(path, {_INPUT + name: array for name, array in data.inputs.items()})


def read_items(path: Path, state: tuple[StateBinding, ...] = (), name: str = "items") -> Dataset:
    """Read what :func:`write_items` wrote; other arrays in the file are passed over."""
    arrays = read_arrays(path)
    inputs = {key[len(_INPUT) :]: array for key, array in arrays.items() if key.startswith(_INPUT)}
    return Dataset(name=name, inputs=inputs, state=state)


def check_items(data: Dataset, inputs: tuple[TensorSpec, ...]) -> None:
    """Hold the data against the model's inputs.

    Raises:
        InvalidInputError: an input is missing or unknown, or has another element type or shape.
    """
    fed = {binding.input for binding in data.state}
    expected = {spec.name: spec for spec in inputs if spec.name not in fed}
    if set(expected) != set(data.inputs):
        raise InvalidInputError(
            f"data {data.name!r} has the inputs {', '.join(sorted(data.inputs)) or 'none'}; "
            f"the model takes {', '.join(sorted(expected)) or 'none'}.",
            next_step="Name the arrays of the data after the model's inputs.",
        )
    for name, spec in expected.items():
        array = data.inputs[name]
        if str(array.dtype) != spec.dtype:
            raise InvalidInputError(
                f"input {name!r}: data {data.name!r} holds {array.dtype}, the model takes {spec.dtype}.",
                next_step=f"Convert the array to {spec.dtype}.",
            )
        item = _pick(array, 0, spec, 0 if data.state else None)
        fits = not spec.shape or (
            item.ndim == len(spec.shape)
            and all(want in (-1, got) for want, got in zip(spec.shape, item.shape, strict=True))
        )
        if not fits:
            raise InvalidInputError(
                f"input {name!r}: an item of data {data.name!r} has the shape {item.shape}, the "
                f"model takes {spec.shape}.",
                next_step="Give items in the form that the model was trained with.",
            )


def _pick(array: NDArray[Any], item: int, spec: TensorSpec, step: int | None) -> NDArray[Any]:
    """Return one feed; an array of the input's own rank is cut so that its first axis stays, as a batch
    of 1."""
    import numpy as np

    rank = array.ndim - (step is not None)
    chosen = (
        array[item : item + 1] if rank == len(spec.shape) or (not spec.shape and rank > 1) else array[item]
    )
    if step is not None:
        chosen = chosen[:, step] if chosen.ndim == array.ndim else chosen[step]
    # Picking from a list of numbers gives a number, which the runtime does not take.
    return np.asarray(chosen)


def _zero_state(state: tuple[StateBinding, ...], specs: Mapping[str, TensorSpec]) -> Feed:
    import numpy as np

    return {
        b.input: np.zeros(
            [1 if n < 0 else n for n in specs[b.input].shape], numpy_dtype(specs[b.input].dtype)
        )
        for b in state
    }


def numpy_dtype(name: str) -> Any:
    """Return the NumPy type of a name, those of ml_dtypes ("bfloat16") included."""
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def feeds_of(
    data: Dataset,
    inputs: tuple[TensorSpec, ...],
    step_forward: Callable[[Feed], Mapping[str, NDArray[Any]]] | None = None,
    limit: int | None = None,
) -> Iterator[Feed]:
    """Yield complete feeds at batch 1: each item, or each step of each item for a model with state.

    Args:
        data: Items.
        inputs: Inputs of the model.
        step_forward: Runs the model on a feed and returns its outputs by name; carries the state on.
        Without it only
            the first step of each item, where the state is zero, is yielded.
        limit: Most items to use.
    """
    specs = {spec.name: spec for spec in inputs}
    count = len(data) if limit is None else min(limit, len(data))
    if not data.state:
        for item in range(count):
            yield {name: _pick(array, item, specs[name], None) for name, array in data.inputs.items()}
        return
    steps = next(iter(data.inputs.values())).shape[1] if step_forward else 1
    for item in range(count):
        state = _zero_state(data.state, specs)
        for step in range(steps):
            feed = {
                name: _pick(array, item, specs[name], step) for name, array in data.inputs.items()
            } | state
            yield feed
            if step_forward is not None and step + 1 < steps:
                outputs = step_forward(feed)
                state = {b.input: outputs[b.output] for b in data.state}


def first_feed(data: Dataset, inputs: tuple[TensorSpec, ...]) -> Feed:
    """Return the complete feed of the first item, at its first step."""
    return next(feeds_of(data, inputs, limit=1))


def run_items(
    path: Path, data: Dataset, inputs: tuple[TensorSpec, ...], limit: int | None = None
) -> list[Outputs]:
    """Run a model over items at batch 1, state carried; one entry per inference.

    Raises:
        InvalidInputError: the runtime does not load the model or fails on an item.
    """
    from edgeloop.compress.runtime import first_line, open_session

    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    latest: tuple[Feed | None, Outputs] = (None, {})

    def run(feed: Feed) -> Outputs:
        nonlocal latest
        if latest[0] is not feed:
            try:
                latest = (feed, dict(zip(names, session.run(None, feed), strict=True)))
            except Exception as error:  # every failure of the runtime is a class of its own C++ binding
                raise InvalidInputError(f"{path.name} fails on the data: {first_line(error)}") from error
        return latest[1]

    return [run(feed) for feed in feeds_of(data, inputs, run, limit)]


def synthetic_feed(inputs: tuple[TensorSpec, ...], seed: int) -> Feed:
    """Return seeded numbers of the right type: normal for floats, 0 and 1 for the rest; free axes are 1."""
    import numpy as np

    generator = np.random.default_rng(seed)
    feed: Feed = {}
    for spec in inputs:
        shape = [1 if size < 0 else size for size in spec.shape]
        dtype = numpy_dtype(spec.dtype)
        is_float = dtype.kind == "f" or dtype.name == "bfloat16"
        values = generator.standard_normal(shape) if is_float else generator.integers(0, 2, shape)
        feed[spec.name] = np.asarray(values).astype(dtype)
    return feed
