"""Calibration items as ONNX Runtime's quantiser reads them: several inputs, free axes, and state carried
on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.items import Feed, check_items, feeds_of
from edgeloop.compress.runtime import open_session
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["finite_items", "reader_of"]


def finite_items(data: Dataset | None, model: ModelDescription, limit: int) -> Dataset:
    """Return at most ``limit`` items whose numbers are all finite, checked against the model's inputs.

    Raises:
        InvalidInputError: there are none, or they do not fit the model.
    """
    import numpy as np

    if data is None:
        raise InvalidInputError(
            "there is no calibration data.", next_step="Give data, or leave static int8 out."
        )
    check_items(data, model.inputs)
    good = np.ones(len(data), bool)
    for array in data.inputs.values():
        if array.dtype.kind == "f":
            good &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    chosen = np.flatnonzero(good)[:limit]
    if not len(chosen):
        raise InvalidInputError(
            f"none of the {len(data)} calibration items of {data.name!r} is finite; at least one is needed.",
            next_step="Remove NaN and infinity from the data.",
        )
    return data.take(chosen)


def reader_of(path: Path, data: Dataset, model: ModelDescription) -> Any:
    """Return a calibration reader over complete feeds at batch 1.

    A stateful model's state is carried by running the unquantised model itself, so that calibration sees
    the states
    of real sequences and not zeros alone.
    """
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one feed after the other."""

        def __init__(self) -> None:
            self._feeds = _stateful(path, data, model) if data.state else feeds_of(data, model.inputs)
            self._left = 0

        def __len__(self) -> int:
            steps = next(iter(data.inputs.values())).shape[1] if data.state else 1
            return len(data) * steps

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = end_index - start_index

        def get_next(self) -> Feed | None:
            if self._left == 0:
                return None
            self._left -= 1
            return next(self._feeds, None)

    return Reader()


def _stateful(path: Path, data: Dataset, model: ModelDescription) -> Iterator[Feed]:
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]

    def step(feed: Feed) -> dict[str, NDArray[np.generic]]:
        return dict(zip(names, session.run(None, feed), strict=True))

    return feeds_of(data, model.inputs, step)
