"""Static int8 by NNCF: bias correction, smoothed activations, and products back in float until the answers agree."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError

from edgeloop.compress.calibration import finite_items, reader_of
from edgeloop.compress.compare import answers, output_error
from edgeloop.compress.graph import load_model, nodes_in, prune_opset_imports, save_model
from edgeloop.compress.passes.base import Pass, PassContext
from edgeloop.compress.passes.quantize_static import PRODUCTS, QuantizeStatic, product_names
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.prepare import prepare
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

__all__ = ["QuantizeNncf", "Settings"]

_OFF = -1.0
"""NNCF's own word for a strength of smoothing that is not wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered or a number out of range.
    """

    #: "performance" keeps weights and activations symmetric; "mixed" gives activations a zero point.
    preset: str = "performance"
    #: "fast" shifts each bias by the mean error of its layer on float inputs; "full" lets earlier errors through.
    bias_correction: str = "fast"
    #: How much of an activation's range moves into the weights of a MatMul (SmoothQuant, Xiao et al., ICML 2023):
    #: 0 to 1; -1 for not at all.
    smooth_alpha: float = _OFF
    #: 7-bit weights, which cannot saturate 16-bit sums on processors without VNNI; depthwise ones keep eight.
    reduce_range: bool = False
    #: Largest error of an output, relative to its size; layers go back to float until it is met. 0 for no such control.
    error_budget: float = 0.0
    #: Most calibration items used.
    items: int = 128
    #: Items that errors are measured on.
    judged_items: int = 16

    def __post_init__(self) -> None:
        one_of("quantize_nncf", "preset", self.preset, ("performance", "mixed"))
        one_of("quantize_nncf", "bias_correction", self.bias_correction, ("fast", "full"))
        if self.smooth_alpha != _OFF and not 0.0 <= self.smooth_alpha <= 1.0:
            raise InvalidInputError(
                f"pass 'quantize_nncf': smooth_alpha is 0 to 1, or -1 for none, not {self.smooth_alpha}."
            )
        if not 0.0 <= self.error_budget < 1.0:
            raise InvalidInputError(
                f"pass 'quantize_nncf': error_budget is 0 or more and below 1, not {self.error_budget}."
            )
        for name in ("items", "judged_items"):
            if getattr(self, name) < 1:
                raise InvalidInputError(
                    f"pass 'quantize_nncf': {name} is 1 or more, not {getattr(self, name)}."
                )


class QuantizeNncf(Pass[Settings]):
    """QDQ form with float inputs and outputs, as quantize_static makes it."""

    name = "quantize_nncf"
    title = "static int8 by NNCF"
    settings_type = Settings
    requires = QuantizeStatic.requires
    ensures = QuantizeStatic.ensures

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        nncf = _library()
        data = finite_items(context.calibration, source_model, self.settings.items)
        prepared = context.work_directory / "prepared.onnx"
        prepare(source, prepared, source_model, data, note, context.seed)
        float_model = load_model(prepared, external=True)
        product_names(float_model, self.title, source_model.name)
        reader = reader_of(prepared, data, source_model)
        reader.set_range(0, len(reader))
        feeds = list(iter(reader.get_next, None))
        judge = (
            _Judge(prepared, data, source_model, self.settings.judged_items)
            if self.settings.error_budget
            else None
        )
        made = self._quantized(nncf, float_model, feeds, judge)
        prune_opset_imports(made)
        save_model(made, target)
        product_count = sum(node.op_type in PRODUCTS for node in nodes_in(made))
        note(
            f"static int8 by NNCF, {self.settings.preset}, {self.settings.bias_correction} bias correction, "
            f"{len(data)} items: {_int8_count(made)} of {product_count} products in int8"
        )

    def _quantized(self, nncf: Any, float_model: Any, feeds: list[Any], judge: _Judge | None) -> Any:
        from nncf.quantization.advanced_parameters import (
            AdvancedSmoothQuantParameters,
            OverflowFix,
            QuantizationParameters,
        )

        wanted = self.settings
        smooth = AdvancedSmoothQuantParameters(matmul=wanted.smooth_alpha, convolution=_OFF)
        common = {
            "preset": nncf.QuantizationPreset(wanted.preset),
            "subset_size": len(feeds),
            "fast_bias_correction": wanted.bias_correction == "fast",
            # It smooths what it takes for an encoder, and nothing else.
            "model_type": None if wanted.smooth_alpha == _OFF else nncf.ModelType.TRANSFORMER,
        }
        advanced = nncf.AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE if wanted.reduce_range else OverflowFix.DISABLE,
            smooth_quant_alphas=smooth,
            # Left to itself it gives the input of a depthwise convolution a scale a channel, which no kernel takes.
            activations_quantization_params=QuantizationParameters(per_channel=False),
        )
        if judge is None:
            return nncf.quantize(float_model, nncf.Dataset(feeds), advanced_parameters=advanced, **common)
        return nncf.quantize_with_accuracy_control(
            float_model,
            nncf.Dataset(feeds),
            nncf.Dataset(feeds[: wanted.judged_items]),
            validation_fn=judge,
            max_drop=wanted.error_budget,
            drop_type=nncf.DropType.ABSOLUTE,
            advanced_quantization_parameters=advanced,
            **common,
        )


class _Judge:
    """Scores a model by how close its answers are to those of the float one: 1 less the relative error."""

    def __init__(self, prepared: Path, data: Dataset, model: ModelDescription, limit: int) -> None:
        self._path, self._data, self._model, self._limit = prepared, data, model, limit
        self._expected = answers(prepared, model, data, limit=limit)

    def __call__(self, proto: Any, items: Iterable[Any]) -> float:
        del items  # the same ones, read from the data set
        path = self._path.with_name("judged.onnx")
        save_model(proto, path)
        return 1.0 - output_error(answers(path, self._model, self._data, limit=self._limit), self._expected)


def _library() -> Any:
    # It tells its makers of each use otherwise, and what it stands on does so when it is imported.
    os.environ.setdefault("NNCF_CI", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import nncf
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "quantize_nncf needs the package 'nncf', which is not installed.",
            next_step="Install it: pip install 'edgeloop[nncf]'. quantize_static and quantize_mixed do without.",
        ) from error
    return nncf


def _int8_count(proto: Any) -> int:
    """Return how many products have weights that a DequantizeLinear made; bodies of If, Loop and Scan have none."""
    made = {name for node in proto.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return sum(node.op_type in PRODUCTS and node.input[1] in made for node in proto.graph.node)
