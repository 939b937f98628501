"""Arrays from a NumPy file."""

from __future__ import annotations

import zipfile
from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.datasets.base import DataSource, ReadRequest, assemble

__all__ = ["NpzReader"]


class NpzReader:
    """Arrays by input name, with ``labels`` and ``groups``; pickled objects are refused."""

    name: ClassVar[str] = "npz"

    def accepts(self, source: DataSource) -> bool:
        """Return whether the name ends in .npz or .npy."""
        return source.path.suffix.lower() in (".npz", ".npy")

    def read(self, request: ReadRequest) -> Dataset:
        """Return the arrays; ``labels=`` and ``groups=`` name arrays that are called otherwise.

        Raises:
            InvalidInputError: not a NumPy file, pickled, or without such an array.
            NotFoundError: no such file.
        """
        source = request.source
        source.require_known("labels", "groups")
        arrays = _load(source)
        for role, given in source.options.items():
            if given not in arrays:
                raise InvalidInputError(
                    f"data {source.location!r} has no array {given!r}; it has {', '.join(arrays)}."
                )
            arrays[role] = arrays.pop(given)
        return assemble(source.path.name, arrays, request.description)


def _load(source: DataSource) -> dict[str, NDArray[np.generic]]:
    try:
        loaded = np.load(source.path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"data": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise NotFoundError(f"data {source.location!r} does not exist.") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInputError(
            f"data {source.location!r} is not a NumPy file of plain arrays: {error}."
        ) from error
