"""Divides data into what a model is calibrated on, judged by and compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from edgeloop_foundation.errors import InvalidInputError
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset

__all__ = ["Split", "split"]

_CALIBRATION_ITEMS = 128
_CALIBRATION_SHARE = 0.2
_GOLDEN_ITEMS = 64
_GOLDEN_SEQUENCES = 8
_GOLDEN_BYTES = 16 * 2**20
"""The golden pack travels to every device with every candidate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Three parts; calibration and evaluation share no group."""

    calibration: Dataset
    evaluation: Dataset
    #: A part of evaluation: one item of each group before a second one of any.
    golden: Dataset


def split(data: Dataset, seed: int) -> Split:
    """Divide by seed: whole groups up to min(128, 20 %) items calibrate, the others judge, up to 64 of
    these are golden.

    ``data.calibration_indices`` decides instead where it is given; groups that it touches are not judged
    by. A model with state gets at most 8 golden sequences. Golden inputs stay within 16 MiB, but there is
    always one item.

    Raises:
        InvalidInputError: fewer than two independent groups, or nothing is left to judge by.
    """
    groups = np.arange(len(data)) if data.groups is None else np.unique(data.groups, return_inverse=True)[1]
    groups = groups.reshape(-1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(groups.max()) + 1)
    if data.calibration_indices:
        calibration = np.asarray(sorted(set(data.calibration_indices)))
    else:
        calibration = _whole_groups(data, groups, order)
    evaluation = np.flatnonzero(~np.isin(groups, groups[calibration]))
    if not len(evaluation):
        raise InvalidInputError(
            f"data {data.name!r}: every group has items that are used for calibration; none is left "
            "to judge by."
        )
    golden = _golden(data, groups, evaluation, rng)
    return Split(
        calibration=data.take(calibration), evaluation=data.take(evaluation), golden=data.take(golden)
    )


def _whole_groups(data: Dataset, groups: NDArray[np.intp], order: NDArray[np.intp]) -> NDArray[np.intp]:
    if len(order) < 2:
        raise InvalidInputError(
            f"data {data.name!r} has {len(data)} items of one group; calibration and judgement need "
            "two that are "
            "independent."
        )
    wanted = min(_CALIBRATION_ITEMS, max(1, round(_CALIBRATION_SHARE * len(data))))
    sizes = np.bincount(groups)[order]
    # The group that reaches the count is the last one; one group at least stays for judgement.
    count = min(int(np.searchsorted(np.cumsum(sizes), wanted)) + 1, len(order) - 1)
    return np.flatnonzero(np.isin(groups, order[:count]))


def _golden(
    data: Dataset, groups: NDArray[np.intp], evaluation: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    shuffled = rng.permutation(evaluation)
    turn = np.zeros(len(shuffled), np.intp)
    seen: dict[int, int] = {}
    for place, group in enumerate(groups[shuffled].tolist()):
        turn[place] = seen[group] = seen.get(group, -1) + 1
    ranked = shuffled[np.argsort(turn, kind="stable")]
    item_bytes = sum(array.nbytes // len(array) for array in data.inputs.values())
    most = _GOLDEN_SEQUENCES if data.state else _GOLDEN_ITEMS
    fitting = max(1, min(most, _GOLDEN_BYTES // max(1, item_bytes)))
    return np.sort(ranked[:fitting])
