from __future__ import annotations

import copy

import pytest
from edgeloop.compress.passes.prune_channels import answering_layers, kept_channels
from edgeloop.compress.training.module import build_trainable, load_trainable, save_trainable
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("count", "ratio", "block", "kept"),
    [(16, 0.5, 8, 8), (64, 0.2, 8, 48), (24, 0.5, 8, 16), (8, 0.9, 8, 8), (20, 0.5, 1, 10), (5, 0.5, 8, 5)],
)
def test_what_stays_is_on_the_grid(count, ratio, block, kept):
    assert kept_channels(count, ratio, block) == kept


@pytest.fixture
def library():
    return pytest.importorskip("torch_pruning", reason="the package torch-pruning is not installed")


def widths(net):
    return {n: m.out_channels for n, m in net.named_modules() if hasattr(m, "out_channels")}


@pytest.mark.needs_torch
def test_channels_go_and_the_kept_ones_are_the_strong_ones(library, transform):
    made, notes = transform("prune_channels", ratio=0.5)
    assert widths(made.net) == {"first.0": 8, "second": 8, "third.0": 16}
    assert made.net.head.out_features == 4
    assert "grid of 8: 3 layers, parameters 7316 -> 1932" in notes[0]


@pytest.mark.needs_torch
def test_methods_choose_differently_and_blocks_are_kept(library, transform):
    first = {}
    for method in ("l2", "random", "taylor"):
        made, _ = transform("prune_channels", method=method, ratio=0.5)
        first[method] = made.net.third[0].weight.detach().abs().sum()
    assert first["l2"] > first["random"]
    assert len({round(float(v), 4) for v in first.values()}) == 3
    made, _ = transform("prune_channels", ratio=0.3, block=4)
    assert widths(made.net) == {
        "first.0": 12,
        "second": 12,
        "third.0": 24,
    }  # 16 and 32 without 30 %, to fours
    with pytest.raises(UnsupportedError, match="has a block of 16 channels to spare"):
        transform("prune_channels", ratio=0.2, block=16)


@pytest.mark.needs_torch
def test_a_share_is_of_the_users_own_network_however_much_is_gone(library, transform):
    made, _ = transform("prune_channels", ratio=0.25, block=4)
    again, _ = transform("prune_channels", copy.copy(made), ratio=0.5, block=4)
    assert widths(again.net) == {"first.0": 8, "second": 8, "third.0": 16}


@pytest.mark.needs_torch
def test_a_pruned_network_is_read_back_without_code(library, transform, tmp_path, trained_net):
    import torch

    made, _ = transform("prune_channels", ratio=0.5)
    save_trainable(made, tmp_path / "pruned.pt")
    back = load_trainable(tmp_path / "pruned.pt")
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.net.eval()(x), back.net(x))
    assert back.net.second.in_channels == back.net.second.out_channels == back.net.norm.num_features == 8


@pytest.mark.needs_torch
@pytest.mark.parametrize(("function", "last"), [("model", False), ("channels_last", True)])
def test_a_pruned_network_is_laid_out_as_its_function_does_it(
    library, transform, tmp_path, trained_net, function, last
):
    import torch

    made, _ = transform("prune_channels", build_trainable(trained_net(function)), ratio=0.5)
    save_trainable(made, tmp_path / "pruned.pt")
    for layer in ("second", "third.0"):
        weight = load_trainable(tmp_path / "pruned.pt").net.get_submodule(layer).weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is last
        assert weight.is_contiguous() is not last


@pytest.mark.needs_torch
def test_layers_that_answer_are_found_and_layers_can_be_left_alone(library, transform, trained_net):
    given = build_trainable(trained_net("model"))
    assert answering_layers(given.net, given.example) == {given.net.head}
    made, _ = transform("prune_channels", ratio=0.5, ignore=["third"])
    assert widths(made.net) == {"first.0": 8, "second": 8, "third.0": 32}
    with pytest.raises(InvalidInputError, match="no layer 'fourth' to leave alone"):
        transform("prune_channels", ignore=["fourth"])


@pytest.mark.needs_torch
def test_a_network_that_counts_on_its_channels_is_refused(library, transform, trained_net):
    with pytest.raises(
        UnsupportedError, match="counts on its channels somewhere and does not run with fewer"
    ):
        transform("prune_channels", build_trainable(trained_net("rigid")))
