"""Batch normalisation folded into the convolution or the Gemm before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.equivalence import require_equivalence
from edgeloop.compress.graph import attribute, graphs_in, load_model, save_model
from edgeloop.compress.passes.base import Pass, PassContext
from edgeloop.compress.prepare import copy_of, drop_unused, hoist_constants
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

__all__ = ["FoldBatchNorm", "Settings"]

_NORM = "BatchNormalization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The pass has no settings."""


class FoldBatchNorm(Pass[Settings]):
    """Only where the product's answer has no other reader and all statistics are constants."""

    name = "fold_batch_norm"
    title = "batch-norm folding"
    settings_type = Settings

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        proto = load_model(source, external=True)
        found = sum(1 for node in proto.graph.node if node.op_type == _NORM)
        hoist_constants(proto.graph)
        folded = _fold_all(proto)
        if not folded:
            why = (
                f"none of its {found} follows a Conv, ConvTranspose or Gemm alone" if found else "it has none"
            )
            raise UnsupportedError(f"{self.title} does not apply to {source_model.name}: {why}.")
        drop_unused(proto)
        save_model(proto, target)
        note(f"batch-norm folding: {folded} of {found} folded")
        require_equivalence(self.title, source, target, context, source_model, note)


def _fold_all(proto: Any) -> int:
    import onnx

    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.output}
    reads = Counter(name for inner in graphs_in(proto) for node in inner.node for name in node.input)
    reads.update(value.name for value in graph.output)
    gone = set()
    for norm in graph.node:
        before = made.get(norm.input[0]) if norm.op_type == _NORM else None
        if before is None or not _foldable(norm, before, constants, reads):
            continue
        factor, shift = _affine(norm, constants)
        weight, bias = _merged(before, constants, factor, shift)
        stem = norm.output[0]
        graph.initializer.append(onnx.numpy_helper.from_array(weight, f"{stem}_weight"))
        graph.initializer.append(onnx.numpy_helper.from_array(bias, f"{stem}_bias"))
        del before.input[1:]
        before.input.extend([f"{stem}_weight", f"{stem}_bias"])
        before.output[0] = stem
        gone.add(stem)
    kept = [copy_of(node) for node in graph.node if not (node.op_type == _NORM and node.output[0] in gone)]
    del graph.node[:]
    graph.node.extend(kept)
    return len(gone)


def _foldable(norm: Any, before: Any, constants: dict[str, Any], reads: Counter[str]) -> bool:
    import onnx

    given = [*norm.input[1:5], before.input[1] if len(before.input) > 1 else "", *before.input[2:3]]
    return (
        before.op_type in ("Conv", "ConvTranspose", "Gemm")
        and reads[norm.input[0]] == 1
        and not attribute(norm, "training_mode", 0)
        and not any(norm.output[1:])
        and all(n in constants and constants[n].data_type == onnx.TensorProto.FLOAT for n in given if n)
        and bool(given[4])
        and attribute(before, "alpha", 1.0) == 1.0
        and attribute(before, "beta", 1.0) == 1.0
    )


def _affine(norm: Any, constants: dict[str, Any]) -> tuple[Array, Array]:
    """Return factor and shift of each channel."""
    import numpy as np
    import onnx

    scale, offset, mean, variance = (
        onnx.numpy_helper.to_array(constants[name]).astype(np.float64) for name in norm.input[1:5]
    )
    factor = scale / np.sqrt(variance + float(attribute(norm, "epsilon", 1e-5)))
    return factor, offset - mean * factor


def _merged(before: Any, constants: dict[str, Any], factor: Array, shift: Array) -> tuple[Array, Array]:
    import numpy as np
    import onnx

    weight = onnx.numpy_helper.to_array(constants[before.input[1]]).astype(np.float64)
    has_bias = len(before.input) > 2 and before.input[2]
    bias = onnx.numpy_helper.to_array(constants[before.input[2]]).reshape(-1) if has_bias else 0.0
    if before.op_type == "ConvTranspose":
        groups = int(attribute(before, "group", 1))
        parts = np.split(weight, groups, axis=0)
        scaled = np.concatenate(
            [
                part * f.reshape(1, -1, *[1] * (weight.ndim - 2))
                for part, f in zip(parts, np.split(factor, groups), strict=True)
            ]
        )
    else:
        axis = 0 if before.op_type == "Conv" or attribute(before, "transB", 0) else 1
        scaled = weight * factor.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    return scaled.astype(np.float32), (bias * factor + shift).astype(np.float32)
