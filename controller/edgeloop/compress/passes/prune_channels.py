"""Takes whole channels out of convolutions and linear layers, on the grid that the device computes in.

The dependencies between layers are Torch-Pruning's (Fang et al., 2023). A count off the device's grid costs time
without saving any, so every layer keeps a multiple of the block, and one block at least.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import (
    InvalidInputError,
    MissingDependencyError,
    UnsupportedError,
)

from edgeloop.compress.functions import called, code_digest
from edgeloop.compress.passes.base import Condition, Ensures, PassContext
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.training.base import HAS_MODULE, ModulePass, within
from edgeloop.compress.training.data import as_batches, batch_errors
from edgeloop.compress.training.judge import first_output, load_loss
from edgeloop.compress.training.module import Trainable, load_trainable

__all__ = ["PruneChannels", "Settings", "answering_layers", "kept_channels"]

_METHODS = ("l1", "l2", "taylor", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a value is out of range.
    """

    #: Share of the channels to take, of those that the user's own network has.
    ratio: float = 0.5
    #: "l1" and "l2": small weights go first. "taylor": those whose removal changes the loss least. "random".
    method: str = "l2"
    #: Channels that the device computes at once; layers keep a multiple of it.
    block: int = 8
    #: Names of layers to leave alone, beside those that answer.
    ignore: tuple[str, ...] = ()
    #: For "taylor": ``file.py:function`` of the data, see finetune.
    train: str = ""
    #: For "taylor": the loss, see finetune.
    loss: str = ""
    #: For "taylor": how many batches.
    batches: int = 10

    def __post_init__(self) -> None:
        within("prune_channels", "ratio", self.ratio, 0.0, 0.99)
        within("prune_channels", "block", self.block, 1, 1024)
        within("prune_channels", "batches", self.batches, 1, 100_000)
        one_of("prune_channels", "method", self.method, _METHODS)


def _no_data(model: Any, settings: Settings, context: PassContext) -> str:
    if settings.method != "taylor" or settings.train:
        return ""
    return "method taylor needs training data"


_HAS_BATCHES = Condition(
    text="method taylor has data",
    broken_because=_no_data,
    advice="Give --train file.py:function, or take method l2.",
)


class PruneChannels(ModulePass[Settings]):
    """What is left is a smaller dense network; train it after this."""

    name = "prune_channels"
    title = "channel pruning"
    settings_type = Settings
    requires = (HAS_MODULE, _HAS_BATCHES)
    ensures = Ensures(approximate=True)
    provisional = True

    def fingerprint(self) -> str:
        """Return a digest of the user's functions where they matter."""
        used = (self.settings.train, self.settings.loss) if self.settings.method == "taylor" else ()
        return hashlib.sha256(json.dumps([code_digest(one) for one in used if one]).encode()).hexdigest()

    def _transform(self, given: Trainable, context: PassContext, note: Callable[[str], None]) -> Trainable:
        pruning = _library()
        net, chosen = given.net, self.settings
        assert context.original_module is not None  # the runner gives it with every module
        original = _counts(load_trainable(context.original_module).net)
        names = {layer: name for name, layer in net.named_modules()}
        ignored = answering_layers(net, given.example) | self._named(net)
        ratios = {}
        for name, count in _counts(net).items():
            layer = net.get_submodule(name)
            if layer in ignored:
                continue
            wanted = kept_channels(original.get(name, count), chosen.ratio, chosen.block)
            if wanted < count:
                # A quarter of a channel more, so that rounding in floats never costs a whole block.
                ratios[layer] = 1 - (wanted + 0.25) / count
        if not ratios:
            raise UnsupportedError(
                f"{self.title} does not apply: no layer of {given.spec} has a block of {chosen.block} channels to "
                f"spare at a ratio of {chosen.ratio:g}.",
                next_step="Take a smaller block or a larger ratio.",
            )
        before = _parameters(net)
        counts = _counts(net)
        pruner = pruning.pruner.BasePruner(
            net,
            given.example,
            importance=self._importance(pruning, given, context),
            pruning_ratio=0.0,
            pruning_ratio_dict=ratios,
            ignored_layers=list(ignored),
            round_to=chosen.block,
        )
        pruner.step()
        net.zero_grad(set_to_none=True)
        _require_running(given, chosen.ignore)
        changed = {n: (counts[n], c) for n, c in _counts(net).items() if c != counts[n]}
        if not changed:
            biggest = max(ratios, key=lambda layer: counts[names[layer]])
            raise UnsupportedError(
                f"{self.title} does not apply: the layers of {given.spec} hang together so that none can be pruned "
                f"(the widest is {names[biggest]!r}).",
                next_step="Take a smaller block, or name layers to leave alone in ignore.",
            )
        note(
            f"channel pruning by {chosen.method} on a grid of {chosen.block}: {len(changed)} layers, parameters "
            f"{before} -> {_parameters(net)}"
        )
        return given

    def _named(self, net: Any) -> set[Any]:
        known = dict(net.named_modules())
        for name in self.settings.ignore:
            if name not in known:
                raise InvalidInputError(
                    f"pass 'prune_channels': there is no layer {name!r} to leave alone.",
                    next_step=f"There are {', '.join(itertools.islice(_counts(net), 8))}, ...",
                )
        return {layer for name in self.settings.ignore for layer in known[name].modules()}

    def _importance(self, pruning: Any, given: Trainable, context: PassContext) -> Any:
        chosen = self.settings
        if chosen.method == "random":
            return pruning.importance.RandomImportance()
        if chosen.method != "taylor":
            return pruning.importance.GroupMagnitudeImportance(p=1 if chosen.method == "l1" else 2)
        loss = load_loss(chosen.loss)
        batches = as_batches(called(chosen.train), chosen.train, 64, context.seed, hold_back=True)
        given.net.zero_grad(set_to_none=True)
        given_any = False
        for inputs, labels in itertools.islice(batches, chosen.batches):
            given_any = True
            _learn(given, loss, inputs, labels, chosen.train)
        if not given_any:
            raise InvalidInputError(
                f"{chosen.train} gave no batch.",
                next_step="It returns an object that can be iterated again and again, not a generator.",
            )
        return pruning.importance.GroupTaylorImportance()


def _learn(given: Trainable, loss: Any, inputs: tuple[Any, ...], labels: Any, spec: str) -> None:
    """Add the derivatives of one batch to the network's."""
    with batch_errors(spec, inputs):
        value = loss(first_output(given.net(*inputs)), labels)
    value.backward()


def kept_channels(count: int, ratio: float, block: int) -> int:
    """Return how many of ``count`` channels stay: the nearest multiple of the block, one at least, never more."""
    wanted = max(block, round(count * (1 - ratio) / block) * block)
    return min(count, wanted)


def answering_layers(net: Any, example: tuple[Any, ...]) -> set[Any]:
    """Return the layers whose outputs are the network's: their channels are not ours to take.

    The graph of derivatives is walked from the outputs back to the first weights on every way.
    """
    output = net(*example)
    parts = (
        output.values()
        if isinstance(output, dict)
        else output
        if isinstance(output, tuple | list)
        else [output]
    )
    owners = {id(p): layer for layer in net.modules() for p in layer._parameters.values() if p is not None}
    waiting = [part.grad_fn for part in parts if getattr(part, "grad_fn", None) is not None]
    found, seen = set(), set()
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        before = [one for one, _ in step.next_functions if one is not None]
        weights = [w for one in before if (w := _weight(one)) is not None and w.dim() > 1]
        if weights:
            found |= {owners[id(w)] for w in weights if id(w) in owners}
        else:
            waiting += before
    return found


def _weight(step: Any) -> Any:
    """Return the parameter behind a step of the graph, also through a transposition; None for another step."""
    if hasattr(step, "variable"):
        return step.variable
    if type(step).__name__.startswith(("TBackward", "TransposeBackward", "PermuteBackward")):
        inner = step.next_functions[0][0]
        return getattr(inner, "variable", None)
    return None


def _counts(net: Any) -> dict[str, int]:
    """Return name -> output channels of every layer that has some."""
    found = {}
    for name, layer in net.named_modules():
        count = getattr(layer, "out_channels", getattr(layer, "out_features", None))
        if isinstance(count, int):
            found[name] = count
    return found


def _parameters(net: Any) -> int:
    return sum(p.numel() for p in net.parameters())


def _require_running(given: Trainable, ignore: tuple[str, ...]) -> None:
    import torch

    try:
        with torch.no_grad():
            given.net(*given.example)
    except Exception as error:  # whatever the user's forward raises on other shapes
        raise UnsupportedError(
            f"the network of {given.spec} counts on its channels somewhere and does not run with fewer: "
            f"{' '.join(str(error).split())[:160]}.",
            next_step="Name the layers before that place in ignore"
            + (f" (now {', '.join(ignore)})." if ignore else "."),
        ) from error


def _library() -> Any:
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "channel pruning needs torch-pruning, which is not installed.",
            next_step="Install the torch extra: pip install 'edgeloop[torch]'.",
        ) from error
    return torch_pruning
