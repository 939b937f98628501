"""Builds a TensorFlow Lite file of a few KB with the schema classes that come with ``ai-edge-litert``."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper


class _Graph:
    """One subgraph under construction."""

    def __init__(self) -> None:
        # Buffer 0 is the empty one, by the format's convention.
        self.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.codes: list[Any] = []

    def tensor(self, name: str, shape: tuple[int, ...], values: Any = None) -> int:
        """Add a float32 tensor; without values its first axis is free."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, schema.TensorType.FLOAT32, 0
        tensor.shape = np.array(shape, np.int32)
        if values is None:
            tensor.shapeSignature = np.array((-1, *shape[1:]), np.int32)
        else:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, kind: int, options: Any) -> None:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode = code, min(code, 127)
        entry.version = 1
        self.codes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)

    def dense(self, source: int, weights: int, output: int, activation: int) -> None:
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = activation
        self.operator(
            schema.BuiltinOperator.FULLY_CONNECTED,
            [source, weights, -1],
            output,
            schema.BuiltinOptions.FullyConnectedOptions,
            options,
        )

    def pack(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.description = 3, "tiny classifier"
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [self.graph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def tflite_classifier(onnx_bytes: bytes) -> bytes:
    """Return the classifier of ``mlp_bytes`` with the same weights as a TensorFlow Lite file."""
    model = onnx.load_model_from_string(onnx_bytes)
    weights = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    (width, hidden), classes = weights["w1"].shape, weights["w2"].shape[1]
    graph = _Graph()
    x, h = graph.tensor("x", (1, width)), graph.tensor("h", (1, hidden))
    c, y = graph.tensor("c", (1, classes)), graph.tensor("y", (1, classes))
    w1 = graph.tensor("w1", (hidden, width), weights["w1"].T)
    w2 = graph.tensor("w2", (classes, hidden), weights["w2"].T)
    graph.dense(x, w1, h, schema.ActivationFunctionType.RELU)
    graph.dense(h, w2, c, schema.ActivationFunctionType.NONE)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.operator(schema.BuiltinOperator.SOFTMAX, [c], y, schema.BuiltinOptions.SoftmaxOptions, softmax)
    return graph.pack([x], [y])


def tflite_with_a_stray() -> bytes:
    """Return two dense layers around a SIGN, for which XNNPACK has no kernel."""
    rng = np.random.default_rng(0)
    graph = _Graph()
    x, h = graph.tensor("x", (1, 16)), graph.tensor("h", (1, 16))
    s, y = graph.tensor("s", (1, 16)), graph.tensor("y", (1, 4))
    w1 = graph.tensor("w1", (16, 16), rng.standard_normal((16, 16)))
    w2 = graph.tensor("w2", (4, 16), rng.standard_normal((4, 16)))
    graph.dense(x, w1, h, schema.ActivationFunctionType.NONE)
    graph.operator(schema.BuiltinOperator.SIGN, [h], s, schema.BuiltinOptions.NONE, None)
    graph.dense(s, w2, y, schema.ActivationFunctionType.NONE)
    return graph.pack([x], [y])
