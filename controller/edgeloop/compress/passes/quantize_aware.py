"""Trains the network with rounded weights and activations, then writes it as int8 with QDQ pairs.

Through torchao's export quantisation: the x86 quantizer says what is rounded (activations unsigned 8-bit a tensor,
weights signed 8-bit a channel), ``convert_pt2e`` makes the rounding real.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import MissingDependencyError, UnsupportedError

from edgeloop.compress.passes.base import Ensures, PassContext
from edgeloop.compress.passes.conditions import NOT_QUANTIZED
from edgeloop.compress.training.base import HAS_DATA, HAS_MODULE, TrainingPass, TrainingSettings, within
from edgeloop.compress.training.export import export_failure, export_onnx
from edgeloop.compress.training.module import Trainable

__all__ = ["QuantizeAware", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(TrainingSettings):
    """Settings of the pass.

    Raises:
        InvalidInputError: a value is out of range.
    """

    epochs: int = 2
    learning_rate: float = 0.005
    #: False: no training, the scales come from some batches alone (post-training, static).
    trained: bool = True
    #: Batches that set the scales before the training, or instead of it.
    batches: int = 16
    #: Epoch, from 0, before which the scales still follow the activations; from it on they stand.
    freeze_scales: int = 1

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        within("quantize_aware", "batches", self.batches, 1, 100_000)
        within("quantize_aware", "freeze_scales", self.freeze_scales, 0, 10_000)


class QuantizeAware(TrainingPass[Settings]):
    """What comes out is int8 and has no trainable form any more."""

    name = "quantize_aware"
    title = "quantisation-aware training"
    settings_type = Settings
    requires = (HAS_MODULE, HAS_DATA, NOT_QUANTIZED)
    ensures = Ensures(precision="int8")

    def _write(self, made: Trainable, target: Path) -> None:
        export_onnx(made, target, is_quantized=True)

    def _transform(self, given: Trainable, context: PassContext, note: Callable[[str], None]) -> Trainable:
        tools = _library()
        data, trained = self._data(context), self.settings.trained
        judge = self._judge(data.held)
        before = judge.of_net(given.net)
        config = tools.config(is_qat=trained)
        prepare = tools.prepare_qat if trained else tools.prepare
        net = prepare(_graph(given, trained), tools.quantizer().set_global(config))
        self._observe(net, tools, data)
        graph = Trainable(spec=given.spec, net=net, example=given.example, sparse=given.sparse)
        if trained:
            self._learn(graph, data, context, note, tools)
        tools.to_eval(net)
        made = Trainable(spec=given.spec, net=tools.convert(net), example=given.example)
        after = judge.of_net(made.net)
        way = "with training" if trained else "without training"
        note(f"int8 {way}: score {before:.4f} -> {after:.4f} on {len(data.held.labels)} items held back")
        return made

    def _observe(self, net: Any, tools: Any, data: Any) -> None:
        import torch

        with torch.no_grad():
            for inputs, _ in itertools.islice(data.batches, self.settings.batches):
                net(*inputs)

    def _learn(
        self, graph: Trainable, data: Any, context: PassContext, note: Callable[[str], None], tools: Any
    ) -> None:
        net = graph.net

        def before_epoch(epoch: int) -> None:
            if epoch >= self.settings.freeze_scales:
                net.apply(tools.disable_observer)

        def mode(training: bool) -> None:
            (tools.to_train if training else tools.to_eval)(net)

        # The state before the training is no candidate: its scales are of few batches.
        self._trained(graph, data, context, note, before_epoch=before_epoch, mode=mode, best_from=1)


def _graph(given: Trainable, training: bool) -> Any:
    """Return the module as a graph of operators, its first axis free.

    Raises:
        UnsupportedError: torch cannot trace it.
    """
    import torch

    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = tuple({0: batch} for _ in given.example)
    net = given.net.train() if training else given.net.eval()
    try:
        # strict: without it a module that is used in two places is traced wrongly.
        return torch.export.export(net, given.example, dynamic_shapes=shapes, strict=True).module()
    except Exception as error:  # torch raises a family of its own
        raise UnsupportedError(
            f"torch cannot trace what {given.spec} returned, which int8 training needs: "
            f"{export_failure(error)}.",
            next_step="Take data-dependent branches out of forward, or use quantize_static.",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """What is used of torchao."""

    prepare: Any
    prepare_qat: Any
    convert: Any
    quantizer: Any
    config: Any
    to_eval: Any
    to_train: Any
    disable_observer: Any


def _library() -> _Tools:
    try:
        from torchao.quantization import pt2e
        from torchao.quantization.pt2e import quantize_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "quantisation-aware training needs torchao, which is not installed.",
            next_step="Install the torch extra: pip install 'edgeloop[torch]'.",
        ) from error
    return _Tools(
        prepare=quantize_pt2e.prepare_pt2e,
        prepare_qat=quantize_pt2e.prepare_qat_pt2e,
        convert=quantize_pt2e.convert_pt2e,
        quantizer=x86.X86InductorQuantizer,
        config=x86.get_default_x86_inductor_quantization_config,
        to_eval=pt2e.move_exported_model_to_eval,
        to_train=pt2e.move_exported_model_to_train,
        disable_observer=pt2e.disable_observer,
    )
