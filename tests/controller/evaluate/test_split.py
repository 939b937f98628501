from __future__ import annotations

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.split import split
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding
from hypothesis import given
from hypothesis import strategies as st


def data(count: int, groups: np.ndarray | None = None, **settings: object) -> Dataset:
    return Dataset(name="d", inputs={"x": np.arange(count, dtype=np.float32)}, groups=groups, **settings)  # type: ignore[arg-type]


def ids(part: Dataset) -> set[int]:
    return set(part.inputs["x"].astype(int).tolist())


@given(st.integers(2, 300), st.integers(1, 9), st.integers(0, 5))
def test_parts_are_disjoint_by_group_and_golden_is_judged(count: int, size: int, seed: int) -> None:
    groups = np.arange(count) // size
    if groups[-1] == 0:
        return
    parts = split(data(count, groups), seed)
    calibration, evaluation = ids(parts.calibration), ids(parts.evaluation)
    assert calibration
    assert evaluation
    assert calibration | evaluation == set(range(count))
    assert not {i // size for i in calibration} & {i // size for i in evaluation}
    assert ids(parts.golden) <= evaluation
    assert len(parts.golden) == min(64, len(evaluation))


def test_calibration_is_a_fifth_but_at_most_128() -> None:
    assert len(split(data(100), 0).calibration) == 20
    assert len(split(data(5000), 0).calibration) == 128


def test_the_seed_decides() -> None:
    assert ids(split(data(100), 1).golden) == ids(split(data(100), 1).golden)
    assert ids(split(data(100), 1).calibration) != ids(split(data(100), 2).calibration)


def test_stated_calibration_items_take_their_groups_with_them() -> None:
    parts = split(data(12, np.arange(12) // 3, calibration_indices=(0, 4)), 0)
    assert ids(parts.calibration) == {0, 4}
    assert ids(parts.evaluation) == set(range(6, 12))
    with pytest.raises(InvalidInputError, match="none is left to judge by"):
        split(data(4, np.zeros(4), calibration_indices=(1,)), 0)


def test_golden_takes_one_item_of_each_group_first() -> None:
    groups = np.repeat(np.arange(100), 12)
    golden = split(data(1200, groups), 0).golden
    assert golden.groups is not None
    assert len(set(golden.groups.tolist())) == 64


def test_golden_stays_small() -> None:
    big = Dataset(name="d", inputs={"x": np.zeros((40, 2**20), np.float32)})
    assert len(split(big, 0).golden) == 4
    stateful = Dataset(
        name="d", inputs={"x": np.zeros((40, 5))}, state=(StateBinding(input="s", output="t"),)
    )
    assert len(split(stateful, 0).golden) == 8


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(InvalidInputError, match="two that are independent"):
        split(data(4, np.zeros(4)), 0)
