from __future__ import annotations

import numpy as np
import pytest
from edgeloop.evaluate.classes import class_scores, confusions


def test_scores_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 5])
    decided = np.array([0, 1, 1, 1, 1, 0, -1])
    by_class = {score.label: score for score in class_scores(labels, decided)}
    assert sorted(by_class) == [0, 1, 2, 5]
    assert (by_class[0].support, by_class[0].precision, by_class[0].recall) == (3, 0.5, 1 / 3)
    assert by_class[0].f1 == pytest.approx(0.4)
    assert (by_class[1].precision, by_class[1].recall) == (0.5, 1.0)
    assert by_class[1].f1 == pytest.approx(2 / 3)
    # Never decided for, and an answer that was not finite.
    assert (by_class[2].precision, by_class[2].recall, by_class[2].f1) == (None, 0.0, 0.0)
    assert (by_class[5].support, by_class[5].precision, by_class[5].recall) == (1, None, 0.0)
    found = [(c.label, c.decided, c.count) for c in confusions(labels, decided)]
    assert found == [(0, 1, 2), (2, 0, 1), (5, -1, 1)]


def test_a_class_that_is_only_decided_for_has_no_recall() -> None:
    (first, second) = class_scores(np.array([0, 0]), np.array([0, 3]))
    assert (second.label, second.support, second.precision, second.recall) == (3, 0, 0.0, None)
    assert first.precision == 1.0
    assert confusions(np.array([1]), np.array([1])) == ()
