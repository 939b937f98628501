"""Weights and activations as int8 with ranges from calibration, written as QuantizeLinear/DequantizeLinear
pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop.compress.bias_correction import correct_biases, give_biases, input_means
from edgeloop.compress.calibration import finite_items, reader_of
from edgeloop.compress.graph import load_model, prune_opset_imports, save_model
from edgeloop.compress.passes.base import Condition, Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import CALIBRATED, FULL_PRECISION, NOT_A_TREE, NOT_QUANTIZED
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.prepare import prepare
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

__all__ = ["ENCODINGS", "PRODUCTS", "QuantizeStatic", "Settings", "product_names"]

ENCODINGS = ("U8S8", "S8S8", "U8U8")
"""Activation and weight type; the same numbers differ several times in speed between them."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that int8 makes faster; a model without one is not quantised."""

_FOLLOWERS = (
    *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Transpose", "Squeeze"),
    *("Unsqueeze", "Flatten", "Concat", "Split", "Slice", "Pad", "Resize", "Gather"),
)
"""Operators that pass values on or average them: int8 between two products costs them nothing."""

_JOIN = "Add"
"""Quantised where it joins two branches of products, as in residual networks, and nowhere else: in
arithmetic such as
a normalisation written out, eight bits lose the answer (relative error 0.01 against 0.33 on one real
model)."""

_CALIBRATIONS = ("minmax", "entropy", "percentile")
_CHUNK = 8
"""Inferences whose inner tensors are held at once; the histograms of the chunks are merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered or a number out of range.
    """

    #: Activation and weight type: "U8S8", "S8S8" or "U8U8".
    encoding: str = "U8S8"
    #: One weight scale a channel instead of one a tensor.
    per_channel: bool = True
    #: How ranges are found: "minmax", "entropy" or "percentile".
    calibration: str = "minmax"
    #: Share of values within the range, in percent, for "percentile".
    percentile: float = 99.99
    #: 7-bit weights, which cannot saturate 16-bit sums on processors without VNNI.
    reduce_range: bool = False
    #: Names of nodes to leave alone.
    exclude: tuple[str, ...] = ()
    #: How many products from the front to leave alone.
    exclude_first: int = 0
    #: How many products from the back to leave alone.
    exclude_last: int = 0
    #: Operators to quantise, each wherever it stands; empty for the products and what passes their values on.
    op_types: tuple[str, ...] = ()
    #: Signed activations around zero; costs accuracy, some accelerators take nothing else.
    symmetric_activations: bool = False
    #: Take the mean error of rounded weights out of the biases of Conv and Gemm (Nagel et al., ICCV 2019).
    bias_correction: bool = False
    #: Most calibration items used.
    items: int = 128

    def __post_init__(self) -> None:
        one_of("quantize_static", "encoding", self.encoding, ENCODINGS)
        one_of("quantize_static", "calibration", self.calibration, _CALIBRATIONS)
        if not 50.0 < self.percentile <= 100.0:
            raise InvalidInputError(
                f"pass 'quantize_static': percentile is above 50 and at most 100, not {self.percentile}."
            )
        for name in ("exclude_first", "exclude_last"):
            if getattr(self, name) < 0:
                raise InvalidInputError(
                    f"pass 'quantize_static': {name} is 0 or more, not {getattr(self, name)}."
                )
        if self.items < 1:
            raise InvalidInputError(f"pass 'quantize_static': items is 1 or more, not {self.items}.")


def _has_products(model: ModelDescription, settings: Settings, context: PassContext) -> str:
    if model.operator_count(*PRODUCTS):
        return ""
    return f"it has none of {', '.join(PRODUCTS)}"


def product_names(proto: Any, title: str, model_name: str) -> list[str]:
    """Return the names of the products that a calibration sees.

    Raises:
        UnsupportedError: there are none.
    """
    names = [node.name for node in proto.graph.node if node.op_type in PRODUCTS]
    if not names:
        raise UnsupportedError(
            f"{title} does not apply to {model_name}: its products are all inside of If, Loop or Scan bodies."
        )
    return names


class QuantizeStatic(Pass[Settings]):
    """QDQ form with float inputs and outputs."""

    name = "quantize_static"
    title = "static int8"
    settings_type = Settings
    requires = (
        NOT_QUANTIZED,
        NOT_A_TREE,
        FULL_PRECISION,
        CALIBRATED,
        Condition(
            text="there are operators to quantise",
            broken_because=_has_products,
            advice="Leave the pass out: nothing else is computed in int8.",
        ),
    )
    ensures = Ensures(precision="int8")

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        data = finite_items(context.calibration, source_model, self.settings.items)
        prepared = context.work_directory / "prepared.onnx"
        prepare(source, prepared, source_model, data, note, context.seed)
        means = self._means(prepared, data, source_model)
        folded = load_model(prepared, external=bool(means))
        excluded = self._excluded(folded, source_model.name)
        left = [*excluded, *self._arithmetic(folded)]
        proto = self._quantized(prepared, left, data, source_model, context.work_directory / "quantized.onnx")
        if self.settings.bias_correction:
            changed = correct_biases(proto, folded, means)
            note(f"bias correction: {changed} of {len(means)} Conv and Gemm shifted")
        prune_opset_imports(proto)
        save_model(proto, target)
        note(
            f"static int8 {self.settings.encoding}, "
            f"{'per channel' if self.settings.per_channel else 'per tensor'}, "
            f"{self.settings.calibration} over {len(data)} items, {len(excluded)} products left in fp32"
        )

    def _means(self, prepared: Path, data: Dataset, model: ModelDescription) -> Mapping[str, Any]:
        """Return the mean inputs that a bias correction needs; empty without one."""
        if not self.settings.bias_correction:
            return {}
        give_biases(prepared)
        return input_means(prepared, data, model)

    def _excluded(self, proto: Any, model_name: str) -> list[str]:
        products = product_names(proto, self.title, model_name)
        names = {node.name for node in proto.graph.node}
        unknown = [name for name in self.settings.exclude if name not in names]
        if unknown:
            raise InvalidInputError(
                f"pass 'quantize_static': {model_name} has no node {unknown[0]!r} to exclude once "
                f"it is folded.",
                next_step=f"Its products are {', '.join(products[:20])}.",
            )
        ends = products[: self.settings.exclude_first]
        ends += products[len(products) - min(self.settings.exclude_last, len(products)) :]
        excluded = list(dict.fromkeys([*self.settings.exclude, *ends]))
        if set(products) <= set(excluded):
            raise InvalidInputError(
                f"pass 'quantize_static': all {len(products)} products of {model_name} are excluded."
            )
        return excluded

    def _op_types(self) -> list[str]:
        return list(self.settings.op_types) or [*PRODUCTS, *_FOLLOWERS, _JOIN]

    def _arithmetic(self, proto: Any) -> list[str]:
        """Return the additions that do not join two branches of products; none when the caller chose
        operators."""
        if self.settings.op_types:
            return []
        carried: set[str] = set()
        arithmetic = []
        for node in proto.graph.node:
            sources = node.input if node.op_type == _JOIN else node.input[:1]
            follows = node.op_type in (*_FOLLOWERS, _JOIN) and all(name in carried for name in sources)
            if node.op_type in PRODUCTS or follows:
                carried.update(node.output)
            elif node.op_type == _JOIN:
                arithmetic.append(node.name)
        return arithmetic

    def _quantized(
        self, path: Path, excluded: list[str], data: Dataset, model: ModelDescription, target: Path
    ) -> Any:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }
        kinds = {"U": QuantType.QUInt8, "S": QuantType.QInt8}
        reader = reader_of(path, data, model)
        quantize_static(
            str(path),
            str(target),
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=self._op_types(),
            per_channel=self.settings.per_channel,
            reduce_range=self.settings.reduce_range,
            activation_type=kinds[self.settings.encoding[0]],
            weight_type=kinds[self.settings.encoding[2]],
            nodes_to_exclude=excluded,
            calibrate_method=methods[self.settings.calibration],
            extra_options=self._options(len(reader)),
        )
        return load_model(target, external=True)

    def _options(self, feed_count: int) -> dict[str, Any]:
        options: dict[str, Any] = {
            "ActivationSymmetric": self.settings.symmetric_activations,
            # One zero point for all channels: the runtime's kernel takes no other.
            "WeightSymmetric": self.settings.encoding != "U8U8" or self.settings.per_channel,
            "CalibStridedMinMax": max(n for n in range(1, _CHUNK + 1) if feed_count % n == 0),
        }
        if self.settings.calibration == "percentile":
            options["CalibPercentile"] = self.settings.percentile
        return options
