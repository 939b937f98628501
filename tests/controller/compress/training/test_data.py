from __future__ import annotations

import numpy as np
import pytest
from edgeloop.compress.training.data import load_held, load_training_data
from edgeloop_foundation.errors import InvalidInputError

TEXT = """
import numpy as np

def arrays():
    return np.arange(100, dtype=np.float32).reshape(100, 1), np.arange(100)

def others():
    return np.zeros((7, 1), np.float32), np.arange(7)

def uneven():
    return np.zeros((7, 1), np.float32), np.arange(8)

def number():
    return 7

class Batches:
    def __len__(self):
        return 2
    def __iter__(self):
        yield np.zeros((4, 1), np.float32), np.arange(4)
        yield np.zeros((4, 1), np.float32), np.arange(4)

def batches():
    return Batches()

def single():
    return [1, 2, 3]
"""


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "user.py").write_text(TEXT)
    return lambda function: f"{tmp_path / 'user.py'}:{function}"


def test_a_tenth_is_held_back_and_never_learnt(spec):
    pytest.importorskip("torch", reason="the torch extra is not installed")
    data = load_training_data(spec("arrays"), "", 30, seed=3)
    learnt = np.concatenate([labels.numpy() for _, labels in data.batches])
    assert len(data.held.labels) == 10
    assert len(learnt) == 90
    assert data.length == 3
    assert sorted([*learnt, *data.held.labels]) == list(range(100))
    other = np.concatenate([labels.numpy() for _, labels in data.batches])
    assert learnt.tolist() != other.tolist()
    assert sorted(learnt) == sorted(other)
    assert load_held(spec("arrays"), "", seed=3).labels.tolist() == data.held.labels.tolist()


def test_data_that_judge_are_others_where_they_are_named(spec):
    pytest.importorskip("torch", reason="the torch extra is not installed")
    data = load_training_data(spec("batches"), spec("others"), 30, seed=0)
    assert data.length == 2
    assert [tuple(inputs[0].shape) for inputs, _ in data.batches] == [(4, 1)] * 2
    assert len(data.held.labels) == 7


@pytest.mark.parametrize(
    ("train", "validate", "message"),
    [
        ("batches", "", "gives batches: no items can be held back"),
        ("batches", "batches", "batches returned Batches"),
        ("number", "", "number returned int"),
        ("uneven", "", "returned 7 inputs and 8 labels"),
    ],
)
def test_what_is_no_data_is_said(spec, train, validate, message):
    with pytest.raises(InvalidInputError, match=message):
        load_training_data(spec(train), spec(validate) if validate else "", 30, seed=0)


def test_a_batch_that_is_no_pair_is_said(spec):
    pytest.importorskip("torch", reason="the torch extra is not installed")
    data = load_training_data(spec("single"), spec("others"), 30, seed=0)
    with pytest.raises(InvalidInputError, match="no pair of inputs and labels"):
        next(iter(data.batches))
