"""What is known of a model file before anything is done to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec

from edgeloop.compress.graph import (
    Parameter,
    digest_of_files,
    external_locations,
    load_model,
    nodes_in,
    opsets_of,
    parameters_in,
    specs_of,
)
from edgeloop.domain.model import ModelDescription

__all__ = ["MAX_OPSET", "check_state", "describe", "is_quantized_operator", "precision_of"]

MAX_OPSET = 21
"""Newest standard operator set that every supported board's runtime loads."""

_INTEGER = frozenset({"int8", "uint8", "int4", "uint4", "int2", "uint2"})
_HALF = frozenset({"float16", "bfloat16"})
_FULL = frozenset({"float32", "float64"})
_DOMINANT = 0.8


def describe(path: Path, name: str = "", state: tuple[StateBinding, ...] = ()) -> ModelDescription:
    """Describe an ONNX file.

    Args:
        path: The file; external data lies beside it.
        name: Name for people; the file's name when empty.
        state: Outputs that are fed back as inputs.

    Raises:
        NotFoundError: the file or its external data is missing.
        InvalidInputError: it is not an ONNX model, or ``state`` does not fit its inputs and outputs.
        UnsupportedError: an input or output is not a tensor of numbers.
    """
    model = load_model(path)
    locations = external_locations(model, path)
    inputs, outputs = _complete_types(path, *specs_of(model, path.name))
    check_state(state, inputs, outputs, path.name)
    parameters = list(parameters_in(model))
    counts = Counter(node.op_type for node in nodes_in(model))
    return ModelDescription(
        name=name or path.name,
        format="onnx",
        digest=digest_of_files(path, locations),
        size_bytes=path.stat().st_size + sum((path.parent / n).stat().st_size for n in locations),
        inputs=inputs,
        outputs=outputs,
        opsets=opsets_of(model),
        ir_version=int(model.ir_version),
        parameter_count=sum(p.element_count for p in parameters),
        operator_counts=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        precision=precision_of(parameters),
        quantized=any(is_quantized_operator(op_type) for op_type in counts),
        state=state,
        takes_missing_values=_takes_missing_values(model),
    )


def _takes_missing_values(model: Any) -> bool:
    """Return whether everything that reads the inputs knows what to do with NaN: trees and imputers do."""
    inputs = {value.name for value in model.graph.input}
    readers = [node for node in model.graph.node if inputs & set(node.input)]
    knowing = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble", "Imputer")
    return bool(readers) and all(node.op_type in knowing for node in readers)


def is_quantized_operator(op_type: str) -> bool:
    """Return whether an operator computes in, or converts to or from, integers that stand for real
    numbers."""
    return (
        op_type in ("QuantizeLinear", "DequantizeLinear", "QGemm", "QAttention", "DynamicQuantizeLinear")
        or op_type.startswith(("QLinear", "DynamicQuantize", "MatMulNBits", "MatMulInteger"))
        or op_type == "ConvInteger"
    )


def precision_of(parameters: Iterable[Parameter]) -> str:
    """Return "fp32", "fp16", "int8" or "mixed" by where most parameters are; indices and scalars do not
    count."""
    counts = {"fp32": 0, "fp16": 0, "int8": 0}
    for parameter in parameters:
        if parameter.element_count < 2:
            continue
        for precision, names in (("int8", _INTEGER), ("fp16", _HALF), ("fp32", _FULL)):
            if parameter.dtype in names:
                counts[precision] += parameter.element_count
    total = sum(counts.values())
    best = max(counts, key=lambda precision: counts[precision])
    if total == 0:
        return "fp32"
    return best if counts[best] >= _DOMINANT * total else "mixed"


def _complete_types(
    path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Fill in element types that the file leaves out; the runtime infers them when it loads the model."""
    if all(spec.dtype for spec in (*inputs, *outputs)):
        return inputs, outputs
    from edgeloop.compress.runtime import open_session

    session = open_session(path)
    known = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
    return (
        tuple(_filled(spec, known[spec.name], path.name) for spec in inputs),
        tuple(_filled(spec, known[spec.name], path.name) for spec in outputs),
    )


def _filled(spec: TensorSpec, value: Any, file_name: str) -> TensorSpec:
    if spec.dtype:
        return spec
    kind = str(value.type)
    if not kind.startswith("tensor(") or kind == "tensor(string)":
        raise UnsupportedError(
            f"{spec.name!r} of {file_name} is a {kind}, not a tensor of numbers.",
            next_step="Export the model with plain numeric tensors as inputs and outputs.",
        )
    dtype = {"float": "float32", "double": "float64"}.get(kind[7:-1], kind[7:-1])
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return replace(spec, dtype=dtype, shape=shape)


def check_state(
    state: tuple[StateBinding, ...],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    file_name: str,
) -> None:
    """Hold the declared state against inputs and outputs.

    Raises:
        InvalidInputError: it names what is not there, or ties different element types.
    """
    dtype_in = {spec.name: spec.dtype for spec in inputs}
    dtype_out = {spec.name: spec.dtype for spec in outputs}
    for binding in state:
        if binding.input not in dtype_in or binding.output not in dtype_out:
            raise InvalidInputError(
                f"state {binding.output!r} -> {binding.input!r} is not in {file_name}: its inputs are "
                f"{', '.join(dtype_in)}; its outputs are {', '.join(dtype_out)}."
            )
        if dtype_in[binding.input] != dtype_out[binding.output]:
            raise InvalidInputError(
                f"state {binding.output!r} ({dtype_out[binding.output]}) cannot be fed back as "
                f"{binding.input!r} "
                f"({dtype_in[binding.input]})."
            )
