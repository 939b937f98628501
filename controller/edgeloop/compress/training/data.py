"""The user's training data: batches to learn from, and items held back that nothing is learnt from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError

from edgeloop.compress.functions import called

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ArrayBatches",
    "Held",
    "TrainingData",
    "as_batches",
    "as_held",
    "batch_errors",
    "load_held",
    "load_training_data",
]

_HELD_SHARE = 0.1
_FORM = (
    "It returns (inputs, labels) as arrays, or an object that gives batches of (inputs, labels) each time it is "
    "iterated."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """Items that stages are judged by."""

    #: One array an input of the model, ``[n, ...]``.
    inputs: tuple[NDArray[np.generic], ...]
    #: ``[n]`` or ``[n, ...]``.
    labels: NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """What a training pass is given."""

    #: Batches ``(tuple of input tensors, label tensor)``, anew each time.
    batches: Iterable[tuple[tuple[Any, ...], Any]]
    held: Held
    #: Batches a turn; 0 when that is not known.
    length: int = 0


class ArrayBatches:
    """Shuffled batches of arrays; each turn has an order of its own, the same one for the same seed."""

    def __init__(
        self, inputs: tuple[NDArray[Any], ...], labels: NDArray[Any], batch_size: int, seed: int
    ) -> None:
        self._arrays = (*inputs, labels)
        self._batch_size = min(batch_size, len(labels))
        self._seed = seed
        self.turn = 0

    def __len__(self) -> int:
        return len(self._arrays[-1]) // self._batch_size

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        import numpy as np
        import torch

        order = np.random.default_rng([self._seed, self.turn]).permutation(len(self._arrays[-1]))
        self.turn += 1
        for place in range(len(self)):
            chosen = order[place * self._batch_size : (place + 1) * self._batch_size]
            *inputs, labels = (torch.from_numpy(np.ascontiguousarray(a[chosen])) for a in self._arrays)
            yield tuple(inputs), labels


class _GivenBatches:
    """The user's batches in our form; what is no batch is said."""

    def __init__(self, spec: str, batches: Iterable[Any]) -> None:
        self._spec, self._batches = spec, batches

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        import torch

        for batch in self._batches:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise InvalidInputError(
                    f"{self._spec} gave a batch that is no pair of inputs and labels.", next_step=_FORM
                )
            inputs = batch[0] if isinstance(batch[0], tuple | list) else (batch[0],)
            yield tuple(torch.as_tensor(one) for one in inputs), torch.as_tensor(batch[1])


def load_training_data(train: str, validate: str, batch_size: int, seed: int) -> TrainingData:
    """Call the user's functions; a tenth of the training arrays is held back where no other data judge.

    Raises:
        EdgeloopError: a function is missing, fails or returns something else.
    """
    value = called(train)
    held = load_held(train, validate, seed, value=value)
    batches = as_batches(value, train, batch_size, seed, hold_back=not validate)
    length = len(value) if hasattr(value, "__len__") else 0
    return TrainingData(
        batches=batches, held=held, length=len(batches) if isinstance(batches, ArrayBatches) else length
    )


def as_batches(
    value: Any, spec: str, batch_size: int, seed: int, *, hold_back: bool
) -> ArrayBatches | _GivenBatches:
    """Return what the user's function returned as batches, without the items that are held back.

    Raises:
        InvalidInputError: it is neither arrays nor batches.
    """
    if _is_pair(value):
        inputs, labels = _arrays(value, spec)
        if hold_back:
            learnt = _order(len(labels), seed)[_held_count(len(labels)) :]
            inputs, labels = tuple(a[learnt] for a in inputs), labels[learnt]
        return ArrayBatches(inputs, labels, batch_size, seed)
    if not isinstance(value, Iterable):
        raise InvalidInputError(f"{spec} returned {type(value).__name__}.", next_step=_FORM)
    return _GivenBatches(spec, value)


def load_held(train: str, validate: str, seed: int, *, value: Any = None) -> Held:
    """Return the items that stages are judged by: those of ``validate``, or a tenth of the training arrays.

    Raises:
        EdgeloopError: a function is missing, fails or returns something else.
    """
    if validate:
        given = called(validate)
        if not _is_pair(given):
            raise InvalidInputError(
                f"{validate} returned {type(given).__name__}.",
                next_step="It returns (inputs, labels) as arrays.",
            )
        return as_held(given, validate)
    value = called(train) if value is None else value
    if not _is_pair(value):
        if isinstance(value, Iterable):
            raise InvalidInputError(
                f"{train} gives batches: no items can be held back from them to judge by.",
                next_step="Name a function that returns (inputs, labels) with --validate.",
            )
        raise InvalidInputError(f"{train} returned {type(value).__name__}.", next_step=_FORM)
    inputs, labels = _arrays(value, train)
    chosen = _order(len(labels), seed)[: _held_count(len(labels))]
    return Held(inputs=tuple(a[chosen] for a in inputs), labels=labels[chosen])


def as_held(pair: Any, spec: str) -> Held:
    """Return a pair of arrays as items to judge by.

    Raises:
        InvalidInputError: the numbers of items differ, or there is none.
    """
    inputs, labels = _arrays(pair, spec)
    return Held(inputs=inputs, labels=labels)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and hasattr(value[1], "shape")


def _arrays(pair: Any, spec: str) -> tuple[tuple[NDArray[Any], ...], NDArray[Any]]:
    import numpy as np

    first = pair[0] if isinstance(pair[0], tuple | list) else (pair[0],)
    inputs, labels = tuple(np.asarray(one) for one in first), np.asarray(pair[1])
    counts = {len(one) for one in (*inputs, labels)}
    if len(counts) != 1 or min(counts) < 2:
        raise InvalidInputError(
            f"{spec} returned {', '.join(str(len(a)) for a in inputs)} inputs and {len(labels)} labels; "
            "it takes as many of both, and two at least."
        )
    return inputs, labels


def _held_count(count: int) -> int:
    return max(1, round(count * _HELD_SHARE))


def _order(count: int, seed: int) -> NDArray[np.intp]:
    import numpy as np

    return np.random.default_rng(seed).permutation(count)


@contextlib.contextmanager
def batch_errors(spec: str, inputs: tuple[Any, ...]) -> Iterator[None]:
    """Say of what torch or a user's loss raise which batch of which data it was.

    Raises:
        InvalidInputError: the batch does not go through the network and its loss.
    """
    try:
        yield
    except EdgeloopError:
        raise
    except Exception as error:  # torch and the user's loss raise anything
        shapes = ", ".join(str(list(one.shape)) for one in inputs)
        raise InvalidInputError(
            f"{spec}: a batch with inputs of shape {shapes} does not go through the network and its loss: "
            f"{' '.join(str(error).split())[:160]}.",
            next_step="Let it return inputs in the shape of the example inputs, and labels that the loss takes.",
        ) from error
