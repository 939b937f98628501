from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from edgeloop.compress.training.data import ArrayBatches, Held, TrainingData
from edgeloop.compress.training.loop import Plan, Task, fit
from edgeloop_foundation.errors import InternalError, InvalidInputError

pytestmark = pytest.mark.needs_torch


@pytest.fixture
def task():
    """A line to be found from forty points."""
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)

    def make(**more):
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        batches = ArrayBatches((x,), y, 8, seed=1)
        data = TrainingData(batches=batches, held=Held(inputs=(x,), labels=y), length=5)

        def score():
            with torch.no_grad():
                return -float((net(torch.from_numpy(x)) - torch.from_numpy(y)).pow(2).mean())

        loss = more.pop("loss", lambda inputs, labels: (net(inputs[0]) - labels).pow(2).mean())
        return Task(net=net, data=data, loss=loss, score=score, spec="t.py:data", mode=net.train, **more)

    return make


def test_it_learns_and_leaves_the_best_state(task):
    one = task()
    before = one.score()
    score = fit(one, Plan(epochs=8, learning_rate=0.05), None, print)
    assert score == one.score() > before / 100
    again = task()
    assert fit(again, Plan(epochs=8, learning_rate=0.05), None, print) == score


def test_a_training_that_ruins_it_leaves_the_state_before(task):
    one = task()
    worse = replace(one, loss=lambda inputs, labels: -one.loss(inputs, labels))
    before = one.score()
    assert fit(worse, Plan(epochs=2, learning_rate=0.05), None, print) == before == one.score()


@pytest.mark.parametrize("place", [1, 2, 3])
def test_what_was_interrupted_goes_on_to_the_same_end(task, tmp_path, place):
    plan = Plan(epochs=4, learning_rate=0.05)
    whole = task()
    fit(whole, plan, None, print)

    def stop(epoch):
        if epoch == place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(task(before_epoch=stop), plan, tmp_path / "kept", print)
    notes, seen = [], []
    again = task(before_epoch=seen.append)
    fit(again, plan, tmp_path / "kept", notes.append)
    assert seen == list(range(place, 4))
    assert notes == [f"went on after epoch {place}, where an interrupted run had stopped"]
    assert again.net.weight.tolist() == whole.net.weight.tolist()


def test_a_checkpoint_that_cannot_be_read_is_left_aside(task, tmp_path):
    (tmp_path / "epoch.pt").write_bytes(b"broken")
    notes = []
    fit(task(), Plan(epochs=1, learning_rate=0.01), tmp_path, notes.append)
    assert "was left aside" in notes[0]


def test_limits_end_it(task):
    notes = []
    fit(task(), Plan(epochs=3, learning_rate=0.01, limit_s=-1.0), None, notes.append)
    assert notes == ["the time limit ended the training in epoch 1 of 3"]
    with pytest.raises(InternalError, match=r"more than the allowed 0\.00"):
        fit(task(), Plan(epochs=1, learning_rate=0.01, memory_limit_bytes=1), None, print)


def test_what_a_part_of_an_epoch_brought_is_kept(task, tmp_path, monkeypatch):
    steps = iter(range(100))
    monkeypatch.setattr("edgeloop.compress.training.loop.monotonic", lambda: float(next(steps)))
    one, notes = task(), []
    before = one.score()
    assert fit(one, Plan(epochs=3, learning_rate=0.5, limit_s=3.0), tmp_path, notes.append) > before
    assert notes == ["the time limit ended the training in epoch 1 of 3"]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_learnt_from_is_said(task):
    torch = pytest.importorskip("torch")
    nothing = torch.zeros((), requires_grad=True)
    with pytest.raises(InternalError, match="no number any more in epoch 1"):
        fit(task(loss=lambda i, y: nothing * math.nan), Plan(epochs=1, learning_rate=0.01), None, print)
    with pytest.raises(
        InvalidInputError, match=r"t.py:data: a batch with inputs of shape \[8, 3\] does not go"
    ):
        fit(task(loss=lambda i, y: i[0] @ i[0]), Plan(epochs=1, learning_rate=0.01), None, print)
