"""The golden pack: inputs and expected outputs by item, read without pickle."""

from __future__ import annotations

import contextlib
import hashlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop_protocol.types.artifact import Artifact, TensorSpec
from edgeloop_protocol.types.outcome import FailureKind, Outcome
from numpy.typing import NDArray

from edgeloop_agent.failure import RunnerFailure

__all__ = ["GoldenPack", "zero_states"]

Array = NDArray[Any]


def _corrupt(reason: str) -> RunnerFailure:
    return RunnerFailure(Outcome.USER_ERROR, FailureKind.CORRUPT_ARTIFACT, reason)


def zero_states(artifact: Artifact, batch_size: int) -> dict[str, Array]:
    """Return the first value of every carried state: zeros; free axes have ``batch_size`` entries."""
    specs = {spec.name: spec for spec in artifact.inputs}
    states = {}
    for binding in artifact.state:
        if binding.input not in specs:
            raise _corrupt(
                f"the manifest carries state into {binding.input!r}, which is no input of the model."
            )
        spec = specs[binding.input]
        shape = tuple(batch_size if size < 0 else size for size in spec.shape)
        states[binding.input] = np.zeros(shape, np.dtype(spec.dtype))
    return states


class GoldenPack:
    """One npz of arrays ``input/<name>``, ``host/<output>``, ``original/<output>``; the first axis is items.

    With state the second axis is steps. An array of the input's own rank is cut along its batch axis; one of
    a rank more holds the full input of each item. Only what is asked for is read, so that a benchmark's
    memory is the model's.

    Args:
        directory: holds the artifact's files.
        artifact: its manifest; names the pack.
        item_count_max: read at most so many items; None reads all.

    Raises:
        RunnerFailure: unreadable, not what the manifest names, or inputs that do not fit together.
    """

    def __init__(self, directory: Path, artifact: Artifact, item_count_max: int | None = None) -> None:
        self._artifact = artifact
        self._path = directory / artifact.golden_file
        self._limit = item_count_max
        self.digest = next(f.digest for f in artifact.files if f.name == artifact.golden_file)
        with self._open() as pack:
            self._names = {name.removesuffix(".npy") for name in pack.namelist()}
        carried = {binding.input for binding in artifact.state}
        self._inputs = {
            spec.name: (spec, self._input(spec)) for spec in artifact.inputs if spec.name not in carried
        }
        self.item_count = self._common(0, "items")
        self.step_count = self._common(1, "steps") if artifact.state else 1

    def check_digest(self) -> None:
        """Compare the file with the digest that the manifest names.

        Raises:
            RunnerFailure: they differ.
        """
        found = hashlib.sha256()
        with self._path.open("rb") as file:
            while chunk := file.read(1 << 20):
                found.update(chunk)
        if found.hexdigest() != self.digest:
            raise _corrupt(
                f"the golden pack has the digest {found.hexdigest()}, the manifest names {self.digest}."
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as pack:
                yield pack
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise _corrupt(f"the golden pack {self._path.name} cannot be read: {error}") from error

    def _read(self, name: str) -> Array:
        """Read the first items of one array, without pickle."""
        with self._open() as pack, pack.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read_header is None:
                raise ValueError(f"{name} has the npy version {version}")
            shape, fortran_order, dtype = read_header(member)
            if dtype.hasobject or fortran_order or not shape:
                raise ValueError(f"{name} is no C-ordered array of numbers with items first")
            items = shape[0] if self._limit is None else min(shape[0], self._limit)
            wanted = math.prod(shape[1:]) * items * dtype.itemsize
            data = member.read(wanted)
            if len(data) != wanted:
                raise ValueError(f"{name} ends after {len(data)} of {wanted} bytes")
            return np.frombuffer(data, dtype).reshape(items, *shape[1:])

    def _input(self, spec: TensorSpec) -> Array:
        name = f"input/{spec.name}"
        if name not in self._names:
            raise _corrupt(f"the golden pack holds nothing for the input {spec.name!r}.")
        array = self._read(name)
        steps = 1 if self._artifact.state else 0
        if array.ndim - steps not in (len(spec.shape), len(spec.shape) + 1):
            raise _corrupt(
                f"for the input {spec.name!r} of shape {spec.shape} the golden pack holds the shape "
                f"{array.shape}."
            )
        return array

    def _common(self, axis: int, what: str) -> int:
        counts = {array.shape[axis] for _, array in self._inputs.values()}
        if len(counts) != 1 or 0 in counts:
            raise _corrupt(
                f"the inputs in the golden pack have {sorted(counts)} {what}; all have the same, above 0."
            )
        return int(counts.pop())

    def references(self, prefix: str) -> dict[str, Array]:
        """Return the expected outputs under ``prefix`` by name, each with the items first.

        Raises:
            RunnerFailure: one of them cannot be read or has another number of items than the inputs.
        """
        names = sorted(name for name in self._names if name.startswith(f"{prefix}/"))
        arrays = {name.removeprefix(f"{prefix}/"): self._read(name) for name in names}
        leading = (self.item_count, self.step_count) if self._artifact.state else (self.item_count,)
        for name, array in arrays.items():
            if array.shape[: len(leading)] != leading:
                raise _corrupt(
                    f"{prefix}/{name} in the golden pack has the shape {array.shape}, not {leading} first."
                )
        return arrays

    def feed(self, item: int, step: int, batch_size: int = 1) -> dict[str, Array]:
        """Return copies of the inputs at one step, ``batch_size`` items from ``item`` on, around the end.

        Raises:
            RunnerFailure: the model's inputs cannot be stacked to this size.
        """
        indices = [(item + offset) % self.item_count for offset in range(batch_size)]
        return {name: self._slice(spec, array, indices, step) for name, (spec, array) in self._inputs.items()}

    def _slice(self, spec: TensorSpec, array: Array, indices: list[int], step: int) -> Array:
        items = array[indices, step] if self._artifact.state else array[indices]
        if items.ndim == len(spec.shape):
            if len(indices) > 1 and spec.shape[0] not in (-1, len(indices)):
                raise _cannot_stack(spec, len(indices))
            return np.array(items, order="C")
        if any(not np.array_equal(items[0], other) for other in items[1:]):
            raise _cannot_stack(spec, len(indices))
        return np.array(items[0], order="C")

    def benchmark_feeds(
        self, batch_size: int, feed_count_max: int
    ) -> Iterator[tuple[Mapping[str, Array], bool]]:
        """Yield the feeds of the benchmark in order, each with whether it starts a new item."""
        feeds = min(feed_count_max, -(-self.item_count // batch_size))
        for index in range(feeds):
            for step in range(self.step_count):
                yield self.feed(index * batch_size, step, batch_size), step == 0


def _cannot_stack(spec: TensorSpec, batch_size: int) -> RunnerFailure:
    return RunnerFailure(
        Outcome.UNSUPPORTED,
        FailureKind.UNSUPPORTED_MODEL,
        f"{batch_size} items cannot be stacked: the input {spec.name!r} of shape {spec.shape} "
        "has no free batch axis.",
    )
