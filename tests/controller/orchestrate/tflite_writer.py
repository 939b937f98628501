"""Writes small TFLite files with the schema that ai-edge-litert brings along, without a converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class TfLiteGraph:
    """One graph; tensors are named, constants carry their values."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    #: Name to shape (-1 for a free axis) and element type of everything that is no constant.
    values: Mapping[str, tuple[tuple[int, ...], str]]
    constants: Mapping[str, NDArray[Any]]
    #: Operator name, inputs, outputs, fields of its options.
    operators: Sequence[tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]]
    #: Scale and zero point of quantised tensors.
    quantisation: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the file."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        model = schema.ModelT()
        model.version = 3
        model.description = "written by a test"
        model.buffers = [schema.BufferT()]
        names = [*self.values, *self.constants]
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors = [self._tensor(schema, model, name) for name in names]
        graph.inputs = [names.index(name) for name in self.inputs]
        graph.outputs = [names.index(name) for name in self.outputs]
        kinds = sorted({kind for kind, *_ in self.operators})
        model.operatorCodes = [_code(schema, kind) for kind in kinds]
        graph.operators = [
            _operator(
                schema,
                kinds.index(kind),
                kind,
                [names.index(n) for n in given],
                [names.index(n) for n in made],
                o,
            )
            for kind, given, made, o in self.operators
        ]
        model.subgraphs = [graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, schema: Any, model: Any, name: str) -> Any:
        tensor = schema.TensorT()
        tensor.name = name
        if name in self.constants:
            constant = self.constants[name]
            shape, dtype = constant.shape, constant.dtype.name
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        else:
            shape, dtype = self.values[name]
            tensor.buffer = 0
        tensor.shape = [max(1, size) for size in shape]
        if -1 in shape:
            tensor.shapeSignature = list(shape)
        tensor.type = getattr(schema.TensorType, dtype.upper())
        if name in self.quantisation:
            scale, zero_point = self.quantisation[name]
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        return tensor


def _code(schema: Any, kind: str) -> Any:
    code = schema.OperatorCodeT()
    code.version = 1
    number = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
    code.builtinCode = number
    code.deprecatedBuiltinCode = min(number, 127)
    if number == schema.BuiltinOperator.CUSTOM:
        code.customCode = kind
    return code


def _operator(
    schema: Any, code: int, kind: str, inputs: list[int], outputs: list[int], fields: Mapping[str, Any]
) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    name = "".join(part.capitalize() for part in kind.split("_")) + "Options"
    options = getattr(schema, f"{name}T", None)
    if options is not None:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = options()
        for field_name, value in fields.items():
            setattr(operator.builtinOptions, field_name, value)
    return operator
