"""The kernel table of one model at batch 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_protocol.types.artifact import Kernel

from edgeloop.compress.graph import load_model, parameters_in
from edgeloop.compress.lowering.kernels import kernel_of, tensor_bytes
from edgeloop.compress.lowering.liveness import peak_bytes
from edgeloop.compress.lowering.operators import CONTAINERS
from edgeloop.compress.lowering.profile import profile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["NO_LOWERING", "Lowering", "lower"]

_MAJORITY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """What is executed, and what it needs."""

    #: Executed kernels in order; a kernel in a loop counts once per iteration.
    kernels: tuple[Kernel, ...]
    #: Peak of live activations at batch 1.
    activation_peak_bytes: int
    #: Bytes of parameters as stored in the file.
    weight_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(kernel.macs for kernel in self.kernels)

    @property
    def precision(self) -> str:
        """What the arithmetic is in: one precision where it holds nearly all multiply-accumulates, else
        "mixed".

        Any multiply-accumulate in int8 makes a model at least "mixed": it never passes for full precision.
        """
        share: dict[str, int] = {}
        for kernel in self.kernels:
            weight = kernel.macs or (1 if kernel.precision == "int8" else 0)
            share[kernel.precision] = share.get(kernel.precision, 0) + weight
        total = sum(share.values())
        if not total:
            return "fp16" if any(kernel.precision == "fp16" for kernel in self.kernels) else "fp32"
        best = max(share, key=lambda name: share[name])
        pure = share[best] == total if best != "int8" else share[best] >= _MAJORITY * total
        return best if pure else "mixed"


NO_LOWERING = Lowering(kernels=(), activation_peak_bytes=0, weight_bytes=0)
"""Of a model that cannot be lowered."""


def lower(model_path: Path, feeds: Mapping[str, NDArray[np.generic]]) -> Lowering:
    """Return the kernels that ONNX Runtime executes for one inference.

    Args:
        model_path: ONNX file.
        feeds: Every input, state included, with its array at batch 1.

    Raises:
        InvalidInputError: the runtime does not load the model or fails on ``feeds``.
    """
    ran = profile(model_path, feeds)
    constants = {parameter.name: parameter.stored_bytes for parameter in parameters_in(ran.model)}
    kernels = tuple(
        kernel_of(execution, constants)
        for execution in ran.executions
        if execution.node.op_type not in CONTAINERS
    )
    return Lowering(
        kernels=kernels,
        activation_peak_bytes=peak_bytes(ran, {n: int(a.nbytes) for n, a in feeds.items()}, tensor_bytes),
        weight_bytes=sum(parameter.stored_bytes for parameter in parameters_in(load_model(model_path))),
    )
