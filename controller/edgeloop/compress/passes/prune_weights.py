"""Sets single weights to zero, at once or little by little while the network learns.

No processor that edgeloop knows computes faster for it, and the file stays as large: it is for what comes after
(packing, a runtime with sparse kernels), and to see how much a network has to spare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgeloop.compress.passes.base import Condition, Ensures, PassContext
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.training.base import HAS_MODULE, TrainingPass, TrainingSettings, within, zeros_kept
from edgeloop.compress.training.module import Trainable

__all__ = ["PruneWeights", "Settings", "sparsity_at"]

_METHODS = ("l1", "random", "global")
_SCHEDULES = ("once", "linear", "exponential", "cubic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(TrainingSettings):
    """Settings of the pass.

    Raises:
        InvalidInputError: a value is out of range.
    """

    #: Share of the weights that are zero in the end.
    sparsity: float = 0.5
    #: "l1": the smallest of each layer. "global": the smallest of all layers together. "random".
    method: str = "l1"
    #: "once": at once, without training. The others reach the share over ``ramp`` epochs of the training.
    schedule: str = "once"
    #: Share of the epochs over which the sparsity rises; the rest heals.
    ramp: float = 0.5

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        within("prune_weights", "sparsity", self.sparsity, 0.01, 0.99)
        within("prune_weights", "ramp", self.ramp, 0.01, 1)
        one_of("prune_weights", "method", self.method, _METHODS)
        one_of("prune_weights", "schedule", self.schedule, _SCHEDULES)


def _gradual_without_data(model: Any, settings: Settings, context: PassContext) -> str:
    if settings.schedule == "once" or settings.train:
        return ""
    return f"schedule {settings.schedule} trains meanwhile, and no training data was named"


class PruneWeights(TrainingPass[Settings]):
    """Zeros stay zero in every later pass that trains."""

    name = "prune_weights"
    title = "weight pruning"
    settings_type = Settings
    requires = (
        HAS_MODULE,
        Condition(
            text="a gradual schedule has data",
            broken_because=_gradual_without_data,
            advice="Give --train file.py:function, or take schedule once.",
        ),
    )
    ensures = Ensures(approximate=True)
    provisional = True

    def _transform(self, given: Trainable, context: PassContext, note: Callable[[str], None]) -> Trainable:
        chosen, net = self.settings, given.net
        names = tuple(n for n, p in net.named_parameters() if p.dim() > 1 and n.endswith("weight"))
        if chosen.schedule == "once":
            zero_weights(net, names, chosen.method, chosen.sparsity)
        else:
            self._gradually(replace(given, sparse=names), names, context, note)
        zeros, total = _zeros(net, names)
        note(
            f"weight pruning by {chosen.method}, {chosen.schedule}: {zeros} of {total} weights are zero "
            f"({zeros / total:.1%}); neither a smaller file nor a faster one by itself"
        )
        return replace(given, sparse=names)

    def _gradually(
        self, given: Trainable, names: tuple[str, ...], context: PassContext, note: Callable[[str], None]
    ) -> None:
        chosen, net = self.settings, given.net
        steps = max(1, round(chosen.epochs * chosen.ramp))
        keeper: list[Callable[[], None]] = [zeros_kept(net, names)]

        def before_epoch(epoch: int) -> None:
            share = sparsity_at(chosen.schedule, min(1.0, (epoch + 1) / steps), chosen.sparsity)
            zero_weights(net, names, chosen.method, share)
            keeper[0] = zeros_kept(net, names)

        self._trained(
            given,
            self._data(context),
            context,
            note,
            before_epoch=before_epoch,
            after_step=lambda: keeper[0](),
            best_from=steps,
        )


def sparsity_at(schedule: str, progress: float, final: float) -> float:
    """Return the share of zeros at a progress of 0 to 1.

    "linear"; "exponential": the same part of what is left goes at every step; "cubic": fast at first, slow at the end
    (Zhu and Gupta, 2017).
    """
    if schedule == "exponential":
        return float(1 - (1 - final) ** progress)
    if schedule == "cubic":
        return float(final * (1 - (1 - progress) ** 3))
    return final * progress


def zero_weights(net: Any, names: tuple[str, ...], method: str, share: float) -> None:
    """Set the share of the named parameters to zero; what is zero already counts and stays."""
    import torch
    from torch.nn.utils import prune

    layers = dict(net.named_modules())
    places = [(layers[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in names]
    if method == "global":
        prune.global_unstructured(places, pruning_method=prune.L1Unstructured, amount=share)
    for layer, key in places:
        if method == "l1":
            prune.l1_unstructured(layer, key, amount=share)
        elif method == "random":
            weight = getattr(layer, key).detach()
            # Zeros first, so that a later and larger share contains an earlier one.
            rank = torch.rand_like(weight) + (weight != 0)
            prune.l1_unstructured(layer, key, amount=share, importance_scores=rank)
        prune.remove(layer, key)


def _zeros(net: Any, names: tuple[str, ...]) -> tuple[int, int]:
    known = dict(net.named_parameters())
    counts = [(int((known[n] == 0).sum()), known[n].numel()) for n in names]
    return sum(z for z, _ in counts), sum(n for _, n in counts)
