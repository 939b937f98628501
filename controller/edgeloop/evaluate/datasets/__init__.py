"""Readers of labelled data, one file a form; every one of them ends in the same validation against the model.

Law: a reader turns a location into arrays and never guesses silently: what it did stands in
``Dataset.notes``.

The text form is ``LOCATION[?OPTION=VALUE&...]``:

- ``module:function`` or ``path.py:function``: returns a Dataset, or arrays by input name, ``labels`` and
  ``groups``.
- ``FILE.npz`` / ``FILE.npy``: arrays by input name, ``labels``, ``groups``, ``calibration_indices``; a
  single array belongs to the single input.
- ``FILE.csv`` / ``FILE.parquet``: feature columns and a label column (``label=NAME``, ``group=NAME``,
  ``drop=A,B``).
- a folder of WAV files, one sub-folder per class (``window=``, ``context=``, ``steps=``, and ``NAME=VALUE``
  for a constant input).
- a folder of images or raw tensors, one sub-folder per class (``mean=``, ``std=``, ``scale=``, ``resize=``,
  ``color=``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_foundation.registry import Registry

if TYPE_CHECKING:
    from edgeloop.domain.dataset import Dataset
    from edgeloop.domain.model import ModelDescription
    from edgeloop.evaluate.datasets.base import DataSource, Reader

__all__ = ["BUILTIN", "DATASETS", "load_data", "random_inputs"]

BUILTIN = {
    "function": "edgeloop.evaluate.datasets.function:FunctionReader",
    "npz": "edgeloop.evaluate.datasets.npz:NpzReader",
    "table": "edgeloop.evaluate.datasets.table:TableReader",
    "wav": "edgeloop.evaluate.datasets.wav:WavReader",
    "folder": "edgeloop.evaluate.datasets.folder:FolderReader",
}
DATASETS: Registry[Reader] = Registry("datasets", BUILTIN)


def load_data(spec: str, description: ModelDescription, *, seed: int, limit: int | None = None) -> Dataset:
    """Read ``spec`` and fit it to the model.

    Args:
        spec: text form, see the room's docstring.
        description: model the data is for.
        seed: decides which items are kept when there are more than ``limit``, and goes to functions that
        take one.
        limit: most items to keep; None keeps all.

    Raises:
        InvalidInputError: the data cannot be used with this model; one sentence says why.
        NotFoundError: the file, folder, module or function does not exist.
        MissingDependencyError: the form needs a package that is not installed.
    """
    from edgeloop.evaluate.datasets.base import DataSource, ReadRequest, keep
    from edgeloop.evaluate.datasets.fit import fit

    if limit is not None and limit < 1:
        raise InvalidInputError(f"the limit of items starts at 1, not {limit}.")
    source = DataSource.parse(spec)
    request = ReadRequest(source=source, description=description, seed=seed, limit=limit)
    data = fit(_reader(source).read(request), description)
    return keep(data, limit, seed)


def _reader(source: DataSource) -> Reader:
    for name in DATASETS.names():
        reader = DATASETS.load(name)()
        if reader.accepts(source):
            return reader
    if not source.path.exists():
        raise NotFoundError(f"data {source.location!r} does not exist.")
    raise InvalidInputError(
        f"data {source.location!r} is of no known form.",
        next_step="Use a folder with a sub-folder per class, npz, CSV, Parquet, WAV files, or "
        "module:function.",
    )


def random_inputs(description: ModelDescription, *, seed: int, count: int = 64) -> Dataset:
    """Return seeded random items for a parity-only experiment; see ``random.random_inputs``."""
    from edgeloop.evaluate.datasets.random import random_inputs as make

    return make(description, seed=seed, count=count)
