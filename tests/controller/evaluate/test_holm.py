from __future__ import annotations

import numpy as np
from edgeloop.evaluate.holm import holm


def test_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == (0.03, 0.06, 0.06, 0.02)
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_alarms_among_true_nulls_stay_at_the_level() -> None:
    rng = np.random.default_rng(0)
    alarms = np.mean([min(holm(rng.uniform(size=8).tolist())) < 0.05 for _ in range(4000)])
    assert 0.03 < alarms < 0.06  # uncorrected it would be 0.34
