from __future__ import annotations

import random

import pytest
from edgeloop.domain.pareto import dominates, hypervolume, pareto_front
from edgeloop_foundation.errors import InvalidInputError
from hypothesis import given
from hypothesis import strategies as st

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)


def test_overlap_decides_nothing() -> None:
    sure, wide, beaten = ((1, 2), (1, 1)), ((1.5, 3), (1, 1)), ((4, 5), (1, 1))
    assert pareto_front([sure, wide, beaten]) == (0, 1)
    assert dominates(sure, beaten)
    assert not dominates(sure, wide)


def test_an_exact_tie_does_not_keep_one_from_winning_elsewhere() -> None:
    assert dominates(((1, 1), (5, 5)), ((2, 2), (5, 5)))
    assert not dominates(((1, 1), (5, 5)), ((1, 1), (5, 5)))


@given(POINTS)
def test_the_front_of_exact_points_is_the_classical_one(points: list[tuple[int, int, int]]) -> None:
    front = pareto_front([[(x, x) for x in p] for p in points])
    classical = tuple(
        i
        for i, p in enumerate(points)
        if not any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)
    )
    assert front == classical


def test_hypervolume_by_hand() -> None:
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (4, 4)) == 6
    assert hypervolume([(0, 0, 0)], (2, 3, 4)) == 24
    assert hypervolume([(0, 0, 2), (1, 1, 0)], (2, 2, 4)) == 1 * 4 + (4 - 1) * 2
    assert hypervolume([(5, 0)], (4, 4)) == 0


@given(POINTS)
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[int, int, int]]) -> None:
    cells = {
        (x, y, z)
        for x in range(10)
        for y in range(10)
        for z in range(10)
        if any(p[0] <= x and p[1] <= y and p[2] <= z for p in points)
    }
    assert hypervolume(points, (10, 10, 10)) == len(cells)
    random.Random(0).shuffle(points)
    assert hypervolume([p[:2] for p in points], (10, 10)) == len({c[:2] for c in cells if c[2] == 9})


def test_other_dimensions_are_refused() -> None:
    for points, reference in (([(1,)], (2,)), ([(1, 2)], (1, 2, 3))):
        with pytest.raises(InvalidInputError, match="two or three"):
            hypervolume(points, reference)
