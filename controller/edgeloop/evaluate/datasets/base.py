"""What every reader gets and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol
from urllib.parse import parse_qsl

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import TensorSpec
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset

if TYPE_CHECKING:
    from edgeloop.domain.model import ModelDescription

__all__ = ["DataSource", "ReadRequest", "Reader", "assemble", "class_folders", "data_inputs", "keep"]

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """A location with its options."""

    location: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, spec: str) -> DataSource:
        """Read ``LOCATION[?OPTION=VALUE&...]``.

        Raises:
            InvalidInputError: no location, or an option without a value.
        """
        location, _, query = spec.strip().partition("?")
        if not location:
            raise InvalidInputError(f"data {spec!r} names no file, folder or function.")
        try:
            options = dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True)) if query else {}
        except ValueError as error:
            raise InvalidInputError(
                f"data options {query!r} cannot be read.", next_step="Write ?NAME=VALUE&NAME=VALUE."
            ) from error
        return cls(location=location, options=options)

    @property
    def path(self) -> Path:
        """The location as a path."""
        return Path(self.location).expanduser()

    def require_known(self, *names: str) -> None:
        """Refuse options that the reader does not know.

        Raises:
            InvalidInputError: an option is not among ``names``.
        """
        for option in self.options:
            if option not in names:
                raise InvalidInputError(
                    f"data {self.location!r} takes no option {option!r}; it takes "
                    f"{', '.join(names) or 'none'}."
                )

    def integer(self, name: str) -> int | None:
        """Return an option as a positive integer, None when it is not given.

        Raises:
            InvalidInputError: it is not a positive integer.
        """
        text = self.options.get(name)
        if text is None:
            return None
        if not text.isdecimal() or int(text) < 1:
            raise InvalidInputError(f"data option {name} is a positive integer, not {text!r}.")
        return int(text)

    def floats(self, name: str) -> tuple[float, ...] | None:
        """Return an option as finite numbers separated by commas, None when it is not given.

        Raises:
            InvalidInputError: it is not a list of finite numbers.
        """
        text = self.options.get(name)
        if text is None:
            return None
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = (float("nan"),)
        if not all(np.isfinite(values)):
            raise InvalidInputError(
                f"data option {name} is a list of numbers such as 0.5,0.5,0.5, not {text!r}."
            )
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """What a reader is asked for."""

    source: DataSource
    description: ModelDescription
    seed: int
    #: The reader may stop there, but need not; which items are kept is decided afterwards.
    limit: int | None = None


class Reader(Protocol):
    """Turns one form of data into arrays; a subclass is found by its registered name."""

    name: ClassVar[str]

    def accepts(self, source: DataSource) -> bool:
        """Return whether the location has this form; touches nothing but names and directory listings."""
        ...

    def read(self, request: ReadRequest) -> Dataset:
        """Return the items.

        Raises:
            InvalidInputError: the data cannot be used.
            NotFoundError: it does not exist.
        """
        ...


def data_inputs(description: ModelDescription) -> tuple[TensorSpec, ...]:
    """Return the inputs that data is needed for: all but those that receive state."""
    state = {binding.input for binding in description.state}
    return tuple(spec for spec in description.inputs if spec.name not in state)


def assemble(name: str, arrays: Mapping[str, Array], description: ModelDescription) -> Dataset:
    """Build a Dataset from arrays by name; ``labels``, ``groups`` and ``calibration_indices`` are not inputs.

    Raises:
        InvalidInputError: what the Dataset refuses.
    """
    wanted = {spec.name for spec in data_inputs(description)}
    special = {n: a for n, a in arrays.items() if n in _SPECIAL and n not in wanted}
    indices = special.get("calibration_indices")
    return Dataset(
        name=name,
        inputs={n: a for n, a in arrays.items() if n not in special},
        labels=special.get("labels"),
        groups=special.get("groups"),
        state=description.state,
        calibration_indices=() if indices is None else tuple(int(i) for i in indices),
    )


_SPECIAL = ("labels", "groups", "calibration_indices")


def class_folders(root: Path) -> tuple[tuple[str, int, Path], ...]:
    """Return name, class index and path of every sub-folder.

    Folders whose names are all integers are those classes; others are classes in alphabetical order.
    """
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if folders and all(p.name.isdecimal() for p in folders):
        return tuple((p.name, int(p.name), p) for p in sorted(folders, key=lambda p: int(p.name)))
    return tuple((p.name, index, p) for index, p in enumerate(folders))


def keep(data: Dataset, limit: int | None, seed: int) -> Dataset:
    """Return a seeded choice of at most ``limit`` items, in their order; calibration items stay such."""
    if limit is None or len(data) <= limit:
        return data
    chosen = np.sort(np.random.default_rng(seed).permutation(len(data))[:limit])
    calibration = set(data.calibration_indices)
    return replace(
        data.take(chosen),
        calibration_indices=tuple(i for i, old in enumerate(chosen.tolist()) if old in calibration),
        notes=(*data.notes, f"{limit} of {len(data)} items were kept by seed {seed}"),
    )
