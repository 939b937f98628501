"""Reference inputs and outputs in one file whose bytes depend on nothing but the arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset

__all__ = ["GoldenPack", "read_golden", "write_golden"]

Outputs = Mapping[str, NDArray[np.generic]]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip entry can carry: the same arrays give the same digest whenever they are written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenPack:
    """Arrays by name; the first axis is the items, the second the steps where there is state."""

    inputs: Outputs
    #: The artifact's own outputs on the host.
    host: Outputs
    #: The unmodified model's outputs on the host.
    original: Outputs


def write_golden(path: Path, data: Dataset, host: Outputs, original: Outputs) -> None:
    """Write the pack as npz: ``input/NAME``, ``host/NAME``, ``original/NAME``; stored, not deflated, with
    fixed times.

    Raises:
        InvalidInputError: an output has another number of items than the data, or none is there.
    """
    for reference, outputs in (("host", host), ("original", original)):
        if not outputs:
            raise InvalidInputError(f"the golden pack needs outputs of the {reference} reference.")
        for name, array in outputs.items():
            if len(array) != len(data):
                raise InvalidInputError(
                    f"{reference} output {name!r} has {len(array)} items, the golden data {len(data)}."
                )
    arrays = {f"{part}/{n}": a for part, group in _parts(data, host, original) for n, a in group.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, _npy(arrays[name]))


def _parts(data: Dataset, host: Outputs, original: Outputs) -> tuple[tuple[str, Outputs], ...]:
    return (("input", data.inputs), ("host", host), ("original", original))


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_golden(path: Path) -> GoldenPack:
    """Read a pack.

    Raises:
        NotFoundError: no such file.
        CorruptDataError: not a golden pack.
    """
    parts: dict[str, dict[str, NDArray[np.generic]]] = {"input": {}, "host": {}, "original": {}}
    try:
        with np.load(path, allow_pickle=False) as loaded:
            for entry in loaded.files:
                part, _, name = entry.partition("/")
                parts[part][name] = loaded[entry]
    except FileNotFoundError as error:
        raise NotFoundError(f"golden pack {path.name!r} does not exist.") from error
    except (ValueError, KeyError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise CorruptDataError(f"{path.name!r} is not a golden pack: {error}.") from error
    return GoldenPack(inputs=parts["input"], host=parts["host"], original=parts["original"])
