"""From one execution to one kernel: its class, arithmetic, multiply-accumulates and bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeloop_protocol.types.artifact import Kernel

from edgeloop.compress.graph import attribute
from edgeloop.compress.lowering.operators import (
    ATTENTION,
    CONV,
    CONV_TRANSPOSE,
    ELEMENTWISE,
    GEMM,
    LAYOUT,
    POOL,
    PROJECTING_ATTENTION,
    QUANTIZE,
    RECURRENT,
    REDUCE,
)
from edgeloop.compress.lowering.profile import Execution, TensorUse

__all__ = ["kernel_of", "tensor_bytes"]

_INT8 = frozenset({"int8", "uint8"})
_SIZES = {
    "bool": 1, "int8": 1, "uint8": 1, "float8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8, "string": 0,
    "int4": 0.5, "uint4": 0.5, "Int4x2": 0.5, "UInt4x2": 0.5, "int2": 0.25, "uint2": 0.25,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    macs: int = 0
    input_channels: int = 0
    output_channels: int = 0
    output_positions: int = 0


def tensor_bytes(use: TensorUse) -> int:
    """Return the bytes of a tensor at run time; unknown element types count four bytes."""
    return math.ceil(math.prod(use.shape) * _SIZES.get(use.dtype, 4))


def kernel_of(execution: Execution, constants: Mapping[str, int]) -> Kernel:
    """Return the kernel that one execution stands for.

    Args:
        execution: What ran.
        constants: Name of each constant of the graph -> its bytes.
    """
    names = [name for name in execution.node.input if name]
    kernel_class = _class_of(execution)
    work = _work_of(execution, kernel_class)
    precision = _precision(execution, kernel_class)
    return Kernel(
        name=execution.name,
        kernel_class=kernel_class,
        op_type=execution.node.op_type,
        precision=precision,
        macs=work.macs,
        input_bytes=_activation_bytes(execution, names, constants),
        weight_bytes=sum(constants[name] for name in dict.fromkeys(names) if name in constants),
        output_bytes=sum(tensor_bytes(use) for use in execution.outputs),
        input_channels=work.input_channels,
        output_channels=work.output_channels,
        output_positions=work.output_positions,
        encoding=_encoding(execution, work) if precision == "int8" else "",
    )


def _activation_bytes(execution: Execution, names: list[str], constants: Mapping[str, int]) -> int:
    if len(names) == len(execution.inputs):
        pairs = zip(names, execution.inputs, strict=True)
        return sum(tensor_bytes(use) for name, use in pairs if name not in constants)
    # Inputs that are not tensors are missing from the profile; what is a constant can then only be
    # subtracted.
    total = sum(tensor_bytes(use) for use in execution.inputs)
    return max(0, total - sum(constants.get(name, 0) for name in names))


def _class_of(execution: Execution) -> str:
    op_type = execution.node.op_type
    if op_type in CONV:
        return _conv_class(execution)
    if op_type in CONV_TRANSPOSE:
        return "conv"
    if op_type in GEMM:
        return "gemm"
    if op_type in RECURRENT:
        return "recurrent"
    if "MatMul" in op_type or op_type in ATTENTION or op_type == "Einsum":
        return "matmul"
    if op_type in QUANTIZE:
        return "quantize"
    if op_type.removeprefix("QLinear").removeprefix("Nhwc") in POOL:
        return "pool"
    if op_type in ("Resize", "Upsample", "GridSample", "QLinearResize", "AffineGrid"):
        return "resize"
    if op_type.startswith("Reduce") or op_type in REDUCE:
        return "reduce"
    if op_type in LAYOUT:
        return "layout"
    return "elementwise" if op_type in ELEMENTWISE else "other"


def _weight_use(execution: Execution) -> TensorUse | None:
    """Return the weight of a convolution, matrix product or recurrent layer, by where its operator takes
    it."""
    op_type = execution.node.op_type
    quantised = op_type.startswith("QLinear") or op_type == "QGemm"
    position = 3 if quantised else 1
    return execution.inputs[position] if len(execution.inputs) > position else None


def _conv_class(execution: Execution) -> str:
    weight = _weight_use(execution)
    if weight is None or len(weight.shape) < 3:
        return "conv"
    group = int(attribute(execution.node, "group", 1))
    if group > 1 and weight.shape[1] == 1:
        return "depthwise"
    return "conv1x1" if all(size == 1 for size in weight.shape[2:]) else "conv"


def _work_of(execution: Execution, kernel_class: str) -> _Work:
    if not execution.inputs or not execution.outputs:
        return _Work()
    op_type = execution.node.op_type
    if kernel_class in ("conv", "conv1x1", "depthwise"):
        return _transposed(execution) if op_type in CONV_TRANSPOSE else _convolution(execution)
    special: dict[str, Callable[[Execution], _Work]] = {"gemm": _gemm, "recurrent": _recurrent}
    if kernel_class in special:
        return special[kernel_class](execution)
    if op_type == "Einsum":
        return _einsum(execution)
    if op_type in ATTENTION:
        return _attention(execution)
    return _matmul(execution) if kernel_class == "matmul" else _Work()


def _convolution(execution: Execution) -> _Work:
    weight, output = _weight_use(execution), execution.outputs[0]
    if weight is None:
        return _Work()
    group = int(attribute(execution.node, "group", 1))
    return _Work(
        macs=math.prod(output.shape) * math.prod(weight.shape[1:]),
        input_channels=weight.shape[1] * group,
        output_channels=weight.shape[0],
        output_positions=math.prod(output.shape) // max(1, weight.shape[0]),
    )


def _transposed(execution: Execution) -> _Work:
    weight, output = _weight_use(execution), execution.outputs[0]
    if weight is None:
        return _Work()
    channels = weight.shape[1] * int(attribute(execution.node, "group", 1))
    return _Work(
        macs=math.prod(execution.inputs[0].shape) * math.prod(weight.shape[1:]),
        input_channels=weight.shape[0],
        output_channels=channels,
        output_positions=math.prod(output.shape) // max(1, channels),
    )


def _product(output: TensorUse, depth: int) -> _Work:
    columns = output.shape[-1] if output.shape else 1
    return _Work(
        macs=math.prod(output.shape) * depth,
        input_channels=depth,
        output_channels=columns,
        output_positions=math.prod(output.shape) // max(1, columns),
    )


def _gemm(execution: Execution) -> _Work:
    left, output = execution.inputs[0], execution.outputs[0]
    rows = output.shape[0] if output.shape else 1
    return _product(output, math.prod(left.shape) // max(1, rows))


def _matmul(execution: Execution) -> _Work:
    left = execution.inputs[0]
    if attribute(execution.node, "K"):  # block-quantised products carry their depth as an attribute
        return _product(execution.outputs[0], int(attribute(execution.node, "K")))
    transposed = bool(attribute(execution.node, "transA", 0)) and len(left.shape) > 1
    return _product(execution.outputs[0], left.shape[-2 if transposed else -1] if left.shape else 1)


def _recurrent(execution: Execution) -> _Work:
    source, weight, recurrence = execution.inputs[:3]
    hidden = int(attribute(execution.node, "hidden_size", 0))
    # The weights already hold the gates of every direction: each is used once per step and batch item.
    steps = math.prod(source.shape[:2])
    return _Work(
        macs=steps * (math.prod(weight.shape) + math.prod(recurrence.shape)),
        input_channels=source.shape[-1],
        output_channels=hidden,
        output_positions=steps,
    )


def _attention(execution: Execution) -> _Work:
    query, output = execution.inputs[0], execution.outputs[0]
    positions = (
        math.prod(query.shape[:-1]) if len(query.shape) < 4 else math.prod(query.shape) // query.shape[-1]
    )
    projects = execution.node.op_type in PROJECTING_ATTENTION or (
        execution.node.op_type == "Attention" and execution.node.domain == "com.microsoft"
    )
    key = query if projects or len(execution.inputs) < 2 else execution.inputs[1]
    length = key.shape[-2] if len(key.shape) > 1 else 1
    macs = 2 * positions * length * query.shape[-1]
    if projects:
        macs = 2 * positions * length * output.shape[-1] + positions * math.prod(execution.inputs[1].shape)
    return _Work(
        macs=macs,
        input_channels=query.shape[-1],
        output_channels=output.shape[-1],
        output_positions=math.prod(output.shape[:-1]),
    )


def _einsum(execution: Execution) -> _Work:
    equation = attribute(execution.node, "equation", b"")
    text = (equation.decode() if isinstance(equation, bytes) else str(equation)).replace(" ", "")
    sizes: dict[str, int] = {}
    for term, use in zip(text.split("->")[0].split(","), execution.inputs, strict=False):
        if "." in term:
            return _Work()
        sizes.update(zip(term, use.shape, strict=False))
    total, output = math.prod(sizes.values()), execution.outputs[0]
    return (
        _product(output, total // max(1, math.prod(output.shape))) if len(execution.inputs) > 1 else _Work()
    )


def _precision(execution: Execution, kernel_class: str) -> str:
    op_type = execution.node.op_type
    if kernel_class == "quantize":
        return "fp32"
    if op_type in ("QGemm", "QAttention", "ConvInteger", "MatMulIntegerToFloat") or op_type.startswith(
        ("QLinear", "DynamicQuantize", "MatMulInteger")
    ):
        return "int8"
    if op_type == "MatMulNBits":
        return "int8" if int(attribute(execution.node, "accuracy_level", 0)) == 4 else "fp32"
    kinds = {use.dtype for use in (*execution.inputs[:1], *execution.outputs[:1])}
    if kinds and kinds <= _INT8:
        return "int8"
    return "fp16" if kinds & {"float16", "bfloat16"} and not kinds & {"float32", "float64"} else "fp32"


def _encoding(execution: Execution, work: _Work) -> str:
    """Return activation and weight type, for kernels that have weights to speak of."""
    if not work.macs:
        return ""
    weight = _weight_use(execution)
    activation = execution.inputs[0].dtype
    if weight is None or weight.dtype not in _INT8:
        return ""
    # The dynamic operators turn their float input into unsigned bytes themselves.
    left = "S8" if activation == "int8" else "U8"
    return left + ("S8" if weight.dtype == "int8" else "U8")
