"""The figures that the fidelity scripts print, against values worked out by hand or known from tables."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[3] / "scripts" / "bench"


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("fidelity_metrics")


def test_errors_are_relative_to_what_was_measured(metrics: Any) -> None:
    found = metrics.figures("it", [1.1, 1.8, 4.0], [1.0, 2.0, 8.0], [1.2, 1.05, 3.0])
    assert found.mape == pytest.approx((0.1 + 0.1 + 0.5) / 3)
    assert found.bias == pytest.approx((0.1 - 0.1 - 0.5) / 3)
    assert found.worst == pytest.approx(0.5)
    assert found.coverage == pytest.approx(2 / 3)
    assert found.spearman == pytest.approx(1.0)


def test_the_binomial_interval_is_the_exact_one(metrics: Any) -> None:
    assert metrics.binomial_interval(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert metrics.binomial_interval(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert metrics.binomial_interval(10, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)


def test_ranks_of_equal_values_are_shared(metrics: Any) -> None:
    assert metrics.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert metrics.spearman([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9487, abs=1e-4)
    assert metrics.spearman([1, 1, 2], [1, 2, 3]) is None


def test_a_constant_answer_has_half_of_the_balanced_accuracy(metrics: Any) -> None:
    truth = [True, True, True, False]
    assert metrics.balanced_accuracy([True] * 4, truth) == 0.5
    assert metrics.balanced_accuracy([True, True, False, False], truth) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.balanced_accuracy([True], [True]) is None


def test_each_board_has_its_own_line_beside_the_constant_answer(metrics: Any) -> None:
    told = [("b", True, False), ("b", False, False), ("a", True, True), ("a", True, True), ("a", True, False)]
    pairs = [metrics.SignPair(board=b, predicted=p, actual=a) for b, p, a in told]
    one, other = metrics.sign_lines(pairs)
    assert (one.board, one.pairs, one.right, one.faster) == (
        "a",
        3,
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )
    assert (other.board, other.pairs, other.right, other.faster) == ("b", 2, 0.5, 0.0)
    assert other.low < 0.5 < other.high


def test_latencies_whose_repeats_overlap_are_not_told_apart(metrics: Any) -> None:
    assert metrics.told_apart((1.0, 1.1), (1.2, 1.5))
    assert metrics.told_apart((1.2, 1.5), (1.0, 1.1))
    assert not metrics.told_apart((1.0, 1.3), (1.2, 1.5))
    assert not metrics.told_apart((1.2, 1.5), (1.0, 1.3))
    # A source that gives one figure alone tells equal ones apart from nothing else.
    assert metrics.told_apart((1.0, 1.0), (1.01, 1.01))
    assert not metrics.told_apart((1.0, 1.0), (1.0, 1.0))


def test_the_balanced_accuracy_of_pairs_weighs_both_signs_alike(metrics: Any) -> None:
    told = [(True, True), (True, True), (True, True), (False, True), (True, False), (False, False)]
    pairs = [metrics.SignPair(board="a", predicted=p, actual=a) for p, a in told]
    assert metrics.balanced(pairs) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert metrics.balanced(pairs[:3]) is None


def test_the_interval_is_over_boards_and_not_over_pairs(metrics: Any) -> None:
    def board(name: str, right: bool, pairs: int) -> list[Any]:
        return [
            metrics.SignPair(board=name, predicted=right == actual, actual=actual)
            for actual in (True, False)
            for _ in range(pairs)
        ]

    half = board("a", True, 1) + board("b", False, 1)
    low, high = metrics.balanced_interval(half)
    assert (low, high) == (0.0, 1.0)
    # More pairs of the same two boards tell nothing more.
    assert metrics.balanced_interval(board("a", True, 20) + board("b", False, 20)) == (low, high)
    many = [pair for n in range(40) for pair in board(f"b{n}", n % 4 > 0, 1)]
    low, high = metrics.balanced_interval(many)
    assert 0.6 < low < 0.75 < high < 0.9
    assert metrics.balanced_interval([pair for pair in half if pair.actual]) is None
