from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.quality import assess
from edgeloop_foundation.errors import InvalidInputError, NotFoundError

OWN = """
def gain(scores, labels):
    return float((scores.argmax(1) == labels).mean())

def loss(scores, labels):
    return float((scores.argmax(1) != labels).mean())
loss.higher_is_better = False

def broken(scores, labels):
    return scores.nothing
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def judged(metric: str):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    before = np.eye(3)[labels]
    after = np.eye(3)[np.where(rng.uniform(size=300) < 0.1, (labels + 1) % 3, labels)]
    data = Dataset(name="d", inputs={"x": np.zeros((300, 1))}, labels=labels, metric=metric)
    return assess({"y": before}, {"y": after}, data, seed=0)


def test_a_function_of_ones_own_judges_like_the_metric_that_it_is(own: Path) -> None:
    found, plain = judged(f"{own}:gain"), judged("accuracy")
    assert found.value.value == plain.value.value
    assert found.drop.low == pytest.approx(plain.drop.low, abs=0.02)
    assert found.retention.value == pytest.approx(1 - plain.drop.value)
    less = judged(f"{own}:loss")
    assert not less.higher_is_better
    assert less.drop.value == pytest.approx(plain.drop.value)
    assert less.retention is None


def test_bad_functions_are_named(own: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"broken failed: AttributeError.*takes scores \[items, k\]"):
        judged(f"{own}:broken")
    with pytest.raises(NotFoundError, match="no function 'nowhere'"):
        judged(f"{own}:nowhere")
