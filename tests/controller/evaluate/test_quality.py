from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.quality import assess, paired_score_interval


def data(labels: np.ndarray, groups: np.ndarray | None = None, **settings: Any) -> Dataset:
    return Dataset(
        name="d", inputs={"x": np.zeros((len(labels), 1))}, labels=labels, groups=groups, **settings
    )


def scores(decisions: np.ndarray, classes: int = 3) -> dict[str, np.ndarray]:
    return {"y": np.eye(classes, dtype=np.float32)[decisions]}


def flipped(labels: np.ndarray, wrong: list[int]) -> np.ndarray:
    decisions = labels.copy()
    decisions[wrong] = (decisions[wrong] + 1) % 3
    return decisions


LABELS = np.arange(200) % 3


def test_without_labels_there_is_no_quality() -> None:
    bare = Dataset(name="d", inputs={"x": np.zeros((3, 1))})
    assert assess(scores(LABELS[:3]), scores(LABELS[:3]), bare, seed=0) is None


def test_values_and_mcnemar_by_hand() -> None:
    # Original wrong on 10 items; candidate wrong on 5 of these and on 12 others: 12 got worse, 5 better.
    before = flipped(LABELS, list(range(10)))
    after = flipped(LABELS, [*range(5), *range(20, 32)])
    quality = assess(scores(before), scores(after), data(LABELS), seed=0)
    assert quality is not None
    assert (quality.baseline.value, quality.value.value) == (0.95, 0.915)
    assert quality.drop.value == pytest.approx(0.035)
    assert quality.agreement == pytest.approx(1 - 17 / 200)
    exact = 2 * sum(comb(17, k) for k in range(6)) / 2**17
    assert quality.mcnemar_p == pytest.approx(exact)
    assert quality.drop.low is not None
    assert quality.drop.low < 0 < 0.035 < (quality.drop.high or 0)


def test_equal_decisions_still_leave_an_exact_bound() -> None:
    quality = assess(scores(LABELS), scores(LABELS), data(LABELS), seed=0)
    assert quality is not None
    bound = 1 - 0.025 ** (1 / 200)
    assert (quality.drop.low, quality.drop.value, quality.drop.high) == pytest.approx((-bound, 0.0, bound))
    assert quality.value.low == pytest.approx(0.025 ** (1 / 200))
    assert quality.mcnemar_p == 1.0


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    wrong = np.flatnonzero(np.isin(groups, rng.permutation(20)[:12]) & (rng.random(200) < 0.9))
    after = scores(flipped(LABELS, wrong.tolist()))
    alone = assess(scores(LABELS), after, data(LABELS), seed=0)
    grouped = assess(scores(LABELS), after, data(LABELS, groups), seed=0)
    assert alone is not None
    assert grouped is not None
    assert grouped.group_count == 20
    width = [q.drop.high - q.drop.low for q in (alone, grouped)]  # type: ignore[operator]
    assert width[1] > 2 * width[0]


def test_one_group_has_no_interval() -> None:
    quality = assess(scores(LABELS), scores(flipped(LABELS, [1])), data(LABELS, np.zeros(200)), seed=0)
    assert quality is not None
    assert quality.drop.value == pytest.approx(0.005)
    assert quality.drop.low is None


def test_a_smaller_error_is_a_negative_drop() -> None:
    truth = np.linspace(0, 1, 50)
    quality = assess({"y": truth + 0.2}, {"y": truth + 0.1}, data(truth), seed=0)
    assert quality is not None
    assert quality.metric == "mean_absolute_error"
    assert quality.drop.value == pytest.approx(-0.1)
    assert quality.agreement is None
    assert quality.mcnemar_p is None


def test_scores_that_move_without_a_decision_do_not_widen_an_area() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    score = {"y": rng.random(300) * 0.4 + labels * 0.05 + 0.5}
    moved = {"y": score["y"] + rng.normal(0, 1e-6, 300)}
    quality = assess(score, moved, data(labels), seed=0)
    assert quality is not None
    assert quality.metric == "roc_auc"
    assert quality.drop.high is not None
    assert quality.drop.high < 1e-3


def test_the_seed_decides_the_interval() -> None:
    after = scores(flipped(LABELS, list(range(40))))
    first, second, other = (assess(scores(LABELS), after, data(LABELS), seed=s) for s in (1, 1, 2))
    assert first == second
    assert first != other


def _statistic(worse: int, better: int, count: int, difference: float) -> float:
    """The score statistic with the restricted likelihood maximised on a grid instead of in closed form."""
    rare = np.linspace(max(0.0, -difference) + 1e-9, (1 - difference) / 2 - 1e-9, 400_001)
    rest = count - worse - better
    likelihood = worse * np.log(rare + difference) + better * np.log(rare)
    likelihood = likelihood + rest * np.log(1 - 2 * rare - difference)
    best = rare[np.argmax(likelihood)]
    return float(worse - better - count * difference) / float(
        np.sqrt(count * (2 * best + difference * (1 - difference)))
    )


@pytest.mark.parametrize(("worse", "better", "count"), [(3, 1, 44), (1, 0, 44), (12, 5, 200)])
def test_the_ends_of_the_score_interval_are_where_the_statistic_is_196(
    worse: int, better: int, count: int
) -> None:
    low, high = paired_score_interval(worse, better, count)
    assert _statistic(worse, better, count, low) == pytest.approx(1.96, abs=0.01)
    assert _statistic(worse, better, count, high) == pytest.approx(-1.96, abs=0.01)


def test_the_score_interval_without_any_change_has_a_closed_form() -> None:
    assert paired_score_interval(0, 0, 50)[1] == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-4)


@pytest.mark.parametrize(("worse", "better"), [(0.01, 0.01), (0.02, 0.0), (0.08, 0.02), (0.2, 0.15)])
def test_the_interval_of_the_drop_covers(worse: float, better: float) -> None:
    """Coverage over 160 seeded draws of 200 items: at least 91 %, a little over two standard errors "
    "under 95 %."""
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(160):
        kind = rng.choice(3, 200, p=(worse, better, 1 - worse - better))
        right_before = np.where(kind == 1, False, True)
        right_after = np.where(kind == 0, False, True)
        before = np.where(right_before, LABELS, (LABELS + 1) % 3)
        after = np.where(right_after, LABELS, (LABELS + 1) % 3)
        quality = assess(scores(before), scores(after), data(LABELS), seed=seed)
        assert quality is not None
        low, high = quality.drop.low, quality.drop.high
        assert low is not None
        assert high is not None
        covered += low <= worse - better <= high
    assert covered / 160 >= 0.91


def test_retention_is_the_ratio_with_a_bound_no_narrower_than_the_drop_s() -> None:
    before, after = flipped(LABELS, list(range(10))), flipped(LABELS, list(range(30)))
    quality = assess(scores(before), scores(after), data(LABELS), seed=0)
    assert quality is not None
    assert quality.retention is not None
    assert quality.retention.value == pytest.approx(170 / 190)
    assert quality.retention.low is not None
    assert quality.drop.high is not None
    assert quality.retention.low <= 1 - quality.drop.high / (190 / 200) + 1e-12
    assert 0.8 < quality.retention.low < 170 / 190
    same = assess(scores(before), scores(before), data(LABELS), seed=0)
    assert same is not None
    assert same.retention is not None
    assert same.retention.value == 1.0
    # Nothing changed on 200 items: that is no proof that nothing ever changes.
    assert same.retention.low == pytest.approx(1 - same.drop.high / 0.95)
    # Of 200 items by 20 sources the bound is that of 20.
    few = assess(scores(before), scores(before), data(LABELS, np.arange(200) // 10), seed=0)
    assert few is not None
    assert few.retention is not None
    assert (few.retention.low or 1) < 0.9 < (same.retention.low or 0)
