from __future__ import annotations

import itertools

import pytest
from edgeloop.compress.passes.prune_weights import sparsity_at, zero_weights

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = [i / 10 for i in range(11)]


@pytest.mark.parametrize("schedule", ["linear", "exponential", "cubic"])
def test_a_schedule_rises_from_nothing_to_the_end(schedule):
    values = [sparsity_at(schedule, p, 0.8) for p in STEPS]
    assert values[0] == 0
    assert values[-1] == pytest.approx(0.8)
    assert values == sorted(values)


def test_schedules_have_their_shapes():
    linear, exponential, cubic = (
        [sparsity_at(s, p, 0.8) for p in STEPS] for s in ("linear", "exponential", "cubic")
    )
    steps = [b - a for a, b in itertools.pairwise(linear)]
    assert steps == pytest.approx([0.08] * 10)
    left = [(1 - b) / (1 - a) for a, b in itertools.pairwise(exponential)]
    assert left == pytest.approx([left[0]] * 10)
    assert cubic[5] == pytest.approx(0.8 * 0.875)
    assert all(c > e > n for c, e, n in zip(cubic[1:-1], exponential[1:-1], linear[1:-1], strict=True))


@pytest.fixture
def net():
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Linear(20, 20))
    with torch.no_grad():
        net[1].weight.mul_(10)
    return net


def shares(net):
    return [float((layer.weight == 0).float().mean()) for layer in net]


@pytest.mark.needs_torch
def test_methods_take_other_weights(net):
    import copy

    names = ("0.weight", "1.weight")
    by_layer, by_all, by_chance = (copy.deepcopy(net) for _ in range(3))
    zero_weights(by_layer, names, "l1", 0.5)
    zero_weights(by_all, names, "global", 0.5)
    zero_weights(by_chance, names, "random", 0.5)
    assert shares(by_layer) == [0.5, 0.5]
    assert sum(shares(by_all)) == pytest.approx(1.0)
    assert shares(by_all)[0] > 0.85  # the small ones of all are in the first layer
    assert shares(by_chance) == [0.5, 0.5]
    weakest = net[0].weight.detach().abs().flatten().argsort()[:200]
    assert (by_layer[0].weight.flatten()[weakest] == 0).all()
    assert not (by_chance[0].weight.flatten()[weakest] == 0).all()


@pytest.mark.needs_torch
@pytest.mark.parametrize("method", ["l1", "random", "global"])
def test_a_larger_share_contains_the_smaller(net, method):
    names = ("0.weight", "1.weight")
    zero_weights(net, names, method, 0.3)
    before = net[0].weight == 0
    zero_weights(net, names, method, 0.6)
    assert (net[0].weight[before] == 0).all()
    assert sum(shares(net)) == pytest.approx(1.2, abs=0.01)


@pytest.mark.needs_torch
def test_zeros_come_gradually_and_stay_through_later_training(transform):
    made, notes = transform("prune_weights", schedule="cubic", sparsity=0.6, epochs=2, learning_rate=0.05)
    zeros = {n: p.detach() == 0 for n, p in made.net.named_parameters() if n in made.sparse}
    assert "(60.0%)" in notes[-1]
    moved = made.net.head.weight.detach().clone()
    tuned, _ = transform("finetune", made, epochs=1, learning_rate=0.05)
    known = dict(tuned.net.named_parameters())
    assert all((known[n].detach()[mask] == 0).all() for n, mask in zeros.items())
    assert tuned.sparse == made.sparse
    assert moved.shape == tuned.net.head.weight.shape
