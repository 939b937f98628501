"""Rounds a product's weights row by row, each rounding's error made good by the rows that are still to come.

Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", ICLR 2023: the error of the product's answers over the calibration items is what is kept small, not that
of the weights.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop.compress.fourbit import nearest_levels
from edgeloop.compress.graph import load_model, save_model
from edgeloop.compress.items import Feed, feeds_of
from edgeloop.compress.runtime import open_session
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fed_back", "second_moments"]

_DAMPING = 0.01
"""Share of the mean moment added to each: keeps what the items say nothing about near its own value."""


def second_moments(
    path: Path, names: Collection[str], data: Dataset, model: ModelDescription
) -> dict[str, NDArray[np.float64]]:
    """Return the sum of ``x xT`` ``[k, k]`` over all rows ``x`` of each named value, by its name.

    Raises:
        InvalidInputError: the model does not run on the items.
    """
    import numpy as np
    import onnx

    proto = load_model(path, external=True)
    outside = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(set(names) - outside))
    exposed = path.with_name("moments.onnx")
    save_model(proto, exposed)
    session = open_session(exposed)
    given = [output.name for output in session.get_outputs()]
    moments: dict[str, NDArray[np.float64]] = {}
    latest: tuple[Feed | None, dict[str, NDArray[np.generic]]] = (None, {})

    def step(feed: Feed) -> dict[str, NDArray[np.generic]]:
        nonlocal latest
        if latest[0] is feed:
            return latest[1]
        found = dict(zip(given, session.run(None, feed), strict=True))
        for name in names:
            rows = np.asarray(found.get(name, feed.get(name)), np.float32)
            rows = rows.reshape(-1, rows.shape[-1])
            moments[name] = moments.get(name, 0.0) + (rows.T @ rows).astype(np.float64)
        latest = (feed, found)
        return found

    for feed in feeds_of(data, model.inputs, step):
        step(feed)
    return moments


def fed_back(
    weight: NDArray[np.float32], moment: NDArray[np.float64], size: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return levels ``[columns * blocks, size]`` from -8 to 7 and one scale a block of ``size`` rows of a column.

    Args:
        weight: ``[rows, columns]`` of a product ``x @ weight``.
        moment: ``[rows, rows]``, the sum of ``x xT``.
        size: rows that share a scale; the last block is filled up with zeros.
    """
    import numpy as np

    rows, columns = weight.shape
    left = np.asarray(weight, np.float64).copy()
    upper = _inverse_factor(moment)
    blocks = -(-rows // size)
    levels = np.zeros((columns, blocks, size), np.int8)
    scales = np.zeros((columns, blocks), np.float32)
    for block in range(blocks):
        start, stop = block * size, min(rows, (block + 1) * size)
        current = np.zeros((columns, size), np.float32)
        current[:, : stop - start] = left[start:stop].T
        scale = nearest_levels(current)[1]
        safe = np.where(scale == 0, np.float32(1), scale).astype(np.float64)
        errors = np.zeros((stop - start, columns))
        for row in range(start, stop):
            level = np.clip(np.rint(left[row] / safe), -8, 7)
            level[scale == 0] = 0
            levels[:, block, row - start] = level.astype(np.int8)
            error = (left[row] - level * scale) / upper[row, row]
            left[row + 1 : stop] -= np.outer(upper[row, row + 1 : stop], error)
            errors[row - start] = error
        left[stop:] -= upper[start:stop, stop:].T @ errors
        scales[:, block] = scale
    return levels.reshape(-1, size), scales.reshape(-1)


def _inverse_factor(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the damped moment's inverse."""
    import numpy as np

    damped = moment + (_DAMPING * float(np.mean(np.diag(moment))) + 1e-8) * np.eye(len(moment))
    factor: NDArray[np.float64] = np.linalg.cholesky(np.linalg.inv(damped)).T
    return factor
