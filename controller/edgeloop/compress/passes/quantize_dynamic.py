"""Weights of matrix products and recurrent layers as int8, activations quantised at run time; needs no
data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.graph import load_model, prune_opset_imports, save_model
from edgeloop.compress.passes.base import Condition, Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import FULL_PRECISION, NOT_A_TREE, NOT_QUANTIZED
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.prepare import prepare
from edgeloop.compress.products import split_gemms
from edgeloop.domain.model import ModelDescription

__all__ = ["CONV_REASON", "QUANTIZABLE", "QuantizeDynamic", "Settings"]

QUANTIZABLE = ("MatMul", "Gemm", "LSTM", "Attention")
"""Operators with a fast kernel for this form."""

CONV_REASON = "ConvInteger has no fast kernel: measured 0.40x on MobileNetV2"
"""Why convolutions are refused."""

_WEIGHT_INPUTS = {"MatMul": (1,), "Gemm": (1,), "LSTM": (1, 2), "Attention": (1,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered.
    """

    #: Type of the weights: "int8" is faster with VNNI or dot product, "uint8" runs in every runtime version.
    weight_type: str = "int8"
    #: One scale a column instead of one a tensor.
    per_channel: bool = False
    #: 7-bit weights, which cannot saturate 16-bit sums on processors without VNNI.
    reduce_range: bool = False
    #: Operators to quantise.
    op_types: tuple[str, ...] = QUANTIZABLE
    #: Names of nodes to leave alone.
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("quantize_dynamic", "weight_type", self.weight_type, ("int8", "uint8"))
        for op_type in self.op_types:
            if op_type not in ("Conv", "ConvTranspose"):
                one_of("quantize_dynamic", "op_types", op_type, QUANTIZABLE)


def _not_conv(model: ModelDescription, settings: Settings, context: PassContext) -> str:
    return CONV_REASON if {"Conv", "ConvTranspose"} & set(settings.op_types) else ""


def _has_products(model: ModelDescription, settings: Settings, context: PassContext) -> str:
    if model.operator_count(*settings.op_types):
        return ""
    if model.operator_count("Conv"):
        return f"it has no {', '.join(settings.op_types)}, only Conv, and {CONV_REASON}"
    return f"it has no {', '.join(settings.op_types)}"


class QuantizeDynamic(Pass[Settings]):
    """MatMul, Gemm, LSTM and Attention, and only those whose weights are constants."""

    name = "quantize_dynamic"
    title = "dynamic int8"
    settings_type = Settings
    requires = (
        NOT_QUANTIZED,
        NOT_A_TREE,
        FULL_PRECISION,
        Condition(
            text="no convolution is asked for",
            broken_because=_not_conv,
            advice="Take quantize_static for convolutions.",
        ),
        Condition(text="there are operators to quantise", broken_because=_has_products),
    )
    ensures = Ensures(precision="int8", domains=frozenset({"com.microsoft"}))
    otherwise = "Try quantize_static, or leave the pass out."

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        prepared = context.work_directory / "prepared.onnx"
        prepare(source, prepared, source_model, context.calibration, note, context.seed)
        proto = load_model(prepared, external=True)
        names = self._chosen(proto)
        if not names:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: "
                f"none of its {', '.join(self.settings.op_types)} nodes carries constant weights."
            )
        save_model(split_gemms(proto, names), prepared)
        quantized = self._quantized(prepared, names, context.work_directory / "quantized.onnx")
        prune_opset_imports(quantized)
        save_model(quantized, target)
        note(f"dynamic int8: {len(names)} operators of {len(proto.graph.node)}")

    def _chosen(self, proto: Any) -> list[str]:
        constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        return [
            node.name
            for node in proto.graph.node
            if node.op_type in self.settings.op_types
            and node.name not in self.settings.exclude
            and _has_weights(node, constants)
        ]

    def _quantized(self, path: Path, names: list[str], target: Path) -> Any:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        op_types = sorted({"MatMul" if op_type == "Gemm" else op_type for op_type in self.settings.op_types})
        quantize_dynamic(
            str(path),
            str(target),
            op_types_to_quantize=op_types,
            nodes_to_quantize=names,
            per_channel=self.settings.per_channel,
            reduce_range=self.settings.reduce_range,
            weight_type=QuantType.QInt8 if self.settings.weight_type == "int8" else QuantType.QUInt8,
        )
        return load_model(target, external=True)


def _has_weights(node: Any, constants: dict[str, Any]) -> bool:
    import onnx

    inputs = list(node.input)
    held = [constants.get(inputs[i]) if i < len(inputs) else None for i in _WEIGHT_INPUTS[node.op_type]]
    floats = all(tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT for tensor in held)
    # A vector times a matrix is not worth a conversion; the quantiser would leave it, and the pass would
    # have lied.
    return floats and all(len(tensor.dims) >= 2 for tensor in held if tensor is not None)
