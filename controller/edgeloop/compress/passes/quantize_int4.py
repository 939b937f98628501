"""Weights of matrix products as four bits in blocks, computed with by the runtime as they are; needs no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop.compress.calibration import finite_items
from edgeloop.compress.error_feedback import fed_back, second_moments
from edgeloop.compress.fourbit import block_grid
from edgeloop.compress.graph import load_model, prune_opset_imports, save_model
from edgeloop.compress.passes.base import Condition, Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import FULL_PRECISION, NOT_A_TREE, NOT_QUANTIZED
from edgeloop.compress.prepare import copy_of, drop_unused, prepare
from edgeloop.compress.products import split_gemms
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["QuantizeInt4", "Settings"]

_PRODUCTS = ("MatMul", "Gemm")
_BLOCK_SIZES = (16, 32, 64, 128)
_SHRINKS = 0.95
"""A file that stays above this share of the original's size was not worth its rounding."""

_ACCURACY_LEVEL = 4
"""Activations in int8 within the product; measured 6.9x against 1.8x for float on a 2048-wide product at batch 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a number out of range.
    """

    #: Weights along the inputs of a product that share a scale.
    block_size: int = 32
    #: Let weights that are still to be rounded make good the error of those that were (Frantar et al., GPTQ, ICLR
    #: 2023); needs calibration data.
    feedback: bool = False
    #: Most calibration items used with ``feedback``.
    items: int = 128
    #: Names of nodes to leave alone.
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.block_size not in _BLOCK_SIZES:
            raise InvalidInputError(
                f"pass 'quantize_int4': block_size is 16, 32, 64 or 128, not {self.block_size}."
            )
        if self.items < 1:
            raise InvalidInputError(f"pass 'quantize_int4': items is 1 or more, not {self.items}.")


def _no_data(model: ModelDescription, settings: Settings, context: PassContext) -> str:
    missing = settings.feedback and context.calibration is None
    return "feedback needs calibration data, and there is none" if missing else ""


def _has_products(model: ModelDescription, settings: Settings, context: PassContext) -> str:
    if model.operator_count(*_PRODUCTS):
        return ""
    instead = "; for Conv there is int4_at_rest" if model.operator_count("Conv") else ""
    return f"it has no {' or '.join(_PRODUCTS)}, and the runtime has four-bit kernels for no other{instead}"


class QuantizeInt4(Pass[Settings]):
    """MatMul, and Gemm split into MatMul and Add, where the weight is a constant matrix."""

    name = "quantize_int4"
    title = "int4 weights"
    settings_type = Settings
    requires = (
        NOT_QUANTIZED,
        NOT_A_TREE,
        FULL_PRECISION,
        Condition(text="there are matrix products", broken_because=_has_products),
        Condition(
            text="there is calibration data where errors are fed back",
            broken_because=_no_data,
            advice="Give --data, or take feedback: false.",
        ),
    )
    ensures = Ensures(precision="int8", domains=frozenset({"com.microsoft"}))
    otherwise = "Try int4_at_rest, which takes every weight."

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
                f"{self.title} does not apply to {source_model.name}: none of its {' or '.join(_PRODUCTS)} nodes "
                f"has a constant float32 matrix of {self.settings.block_size} rows or more."
            )
        split_gemms(proto, names)
        moments = self._moments(proto, set(names), context, source_model)
        self._replace(proto, set(names), moments)
        drop_unused(proto)
        _import_microsoft(proto)
        prune_opset_imports(proto)
        save_model(proto, target)
        before, after = source_model.size_bytes, target.stat().st_size
        if after > _SHRINKS * before:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: the file would go from {before} to {after} "
                f"bytes, because most of it is not in {' or '.join(_PRODUCTS)}.",
                next_step="Try int4_at_rest, which takes every weight.",
            )
        note(
            f"int4 weights: {len(names)} products in blocks of {self.settings.block_size}, {before} to {after} bytes"
            + (f", error fed back in {len(moments)}" if self.settings.feedback else "")
        )

    def _moments(
        self, proto: Any, names: set[str], context: PassContext, model: ModelDescription
    ) -> Mapping[str, NDArray[np.float64]]:
        """Return the second moments of the inputs of each product by the input's name; empty without feedback."""
        if not self.settings.feedback:
            return {}
        data = finite_items(context.calibration, model, self.settings.items)
        split = context.work_directory / "split.onnx"
        save_model(proto, split)
        wanted = {
            node.input[0] for node in proto.graph.node if node.name in names and node.op_type == "MatMul"
        }
        return second_moments(split, wanted, data, model)

    def _chosen(self, proto: Any) -> list[str]:
        import onnx

        known = {node.name for node in proto.graph.node}
        unknown = [name for name in self.settings.exclude if name not in known]
        if unknown:
            raise InvalidInputError(
                f"pass 'quantize_int4': there is no node {unknown[0]!r} to exclude once the model is folded."
            )
        held = {t.name: t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
        return [
            node.name
            for node in proto.graph.node
            if node.op_type in _PRODUCTS
            and node.name not in self.settings.exclude
            and node.input[1] in held
            and len(held[node.input[1]].dims) == 2
            and min(held[node.input[1]].dims) >= self.settings.block_size
        ]

    def _replace(self, proto: Any, names: set[str], moments: Mapping[str, NDArray[np.float64]]) -> None:
        import onnx

        held = {tensor.name: tensor for tensor in proto.graph.initializer}
        nodes = []
        for node in proto.graph.node:
            if node.name not in names or node.op_type != "MatMul":
                nodes.append(copy_of(node))
                continue
            weight = onnx.numpy_helper.to_array(held[node.input[1]])
            packed, scales = _packed(weight, self.settings.block_size, moments.get(node.input[0]))
            stem = f"{node.output[0]}_int4"
            proto.graph.initializer.append(onnx.numpy_helper.from_array(packed, f"{stem}_weight"))
            proto.graph.initializer.append(onnx.numpy_helper.from_array(scales, f"{stem}_scales"))
            nodes.append(self._node(node, stem, weight.shape))
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)

    def _node(self, node: Any, stem: str, shape: tuple[int, ...]) -> Any:
        import onnx

        return onnx.helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{stem}_weight", f"{stem}_scales"],
            list(node.output),
            name=node.name,
            domain="com.microsoft",
            K=int(shape[0]),
            N=int(shape[1]),
            bits=4,
            block_size=self.settings.block_size,
            accuracy_level=_ACCURACY_LEVEL,
        )


def _packed(
    weight: NDArray[np.float32], size: int, moment: NDArray[np.float64] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return bytes ``[columns, blocks, size / 2]``, lower half first, levels shifted by 8, and scales, flat."""
    import numpy as np

    rows, columns = weight.shape
    if moment is None:
        padded = np.pad(np.asarray(weight, np.float32).T, ((0, 0), (0, -rows % size)))
        levels, scales = block_grid(padded, size)
    else:
        levels, scales = fed_back(weight, moment, size)
    shifted = (levels + 8).astype(np.uint8).reshape(columns, -1, size)
    packed = shifted[:, :, 0::2] | shifted[:, :, 1::2] << np.uint8(4)
    return np.ascontiguousarray(packed), np.ascontiguousarray(scales)


def _import_microsoft(proto: Any) -> None:
    if "com.microsoft" not in {entry.domain for entry in proto.opset_import}:
        proto.opset_import.add(domain="com.microsoft", version=1)
