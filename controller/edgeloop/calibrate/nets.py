"""Builds small networks in ONNX, layer by layer, with seeded weights: what a device is calibrated with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

__all__ = ["Net"]

_OPSET = 17
_IR = 8


class Net:
    """A network under construction; each layer goes on from the last tensor.

    Args:
        shape: of the input, batch first.
        seed: of the weights.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        import numpy as np

        self._rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._input_shape = shape
        self.shape = shape
        self.last = "x"

    def node(self, op_type: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> Net:
        """Add any node; its output becomes the last tensor."""
        from onnx import helper

        name = f"{op_type.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        self.last, self.shape = name, shape
        return self

    def constant(self, shape: tuple[int, ...], fan_in: int = 1) -> str:
        """Return the name of a new seeded weight."""
        import numpy as np
        from onnx import numpy_helper

        name = f"w{len(self._constants)}"
        values = (self._rng.standard_normal(shape) / math.sqrt(fan_in)).astype(np.float32)
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def numbers(self, values: list[int]) -> str:
        """Return the name of a new list of integers."""
        import numpy as np
        from onnx import numpy_helper

        name = f"n{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def conv(self, out: int, size: int = 3, stride: int = 1, groups: int = 1, act: str = "Relu") -> Net:
        """Add a convolution with bias and its activation; padding keeps ``side / stride``."""
        batch, channels, *sides = self.shape
        weight = self.constant((out, channels // groups, *[size] * len(sides)), channels // groups * size)
        pads = [(size - 1) // 2] * len(sides) + [size // 2] * len(sides)
        shape = (batch, out, *[-(-side // stride) for side in sides])
        self.node(
            "Conv",
            [self.last, weight, self.constant((out,))],
            shape,
            group=groups,
            pads=pads,
            strides=[stride] * len(sides),
        )
        return self.act(act)

    def depthwise(self, size: int = 3, stride: int = 1, act: str = "Relu") -> Net:
        """Add a depthwise convolution."""
        return self.conv(self.shape[1], size, stride, groups=self.shape[1], act=act)

    def act(self, name: str) -> Net:
        """Add an activation; an empty name adds none."""
        if name == "Silu":
            source = self.last
            self.node("Sigmoid", [source], self.shape)
            return self.node("Mul", [source, self.last], self.shape)
        return self.node(name, [self.last], self.shape) if name else self

    def add(self, other: str) -> Net:
        """Add another tensor of the same shape."""
        return self.node("Add", [self.last, other], self.shape)

    def join(self, other: str, channels: int) -> Net:
        """Concatenate another tensor of so many channels."""
        shape = (self.shape[0], self.shape[1] + channels, *self.shape[2:])
        return self.node("Concat", [self.last, other], shape, axis=1)

    def pool(self, kind: str = "MaxPool", size: int = 2) -> Net:
        """Add a pooling that divides the sides by ``size``."""
        batch, channels, *sides = self.shape
        shape = (batch, channels, *[side // size for side in sides])
        square = [size] * len(sides)
        return self.node(kind, [self.last], shape, kernel_shape=square, strides=square)

    def global_pool(self) -> Net:
        """Average over all positions and drop them."""
        self.node("GlobalAveragePool", [self.last], (*self.shape[:2], *[1] * len(self.shape[2:])))
        return self.node("Flatten", [self.last], self.shape[:2])

    def dense(self, out: int, act: str = "Relu") -> Net:
        """Add a dense layer on the last axis of a matrix."""
        weight = self.constant((self.shape[-1], out), self.shape[-1])
        self.node("Gemm", [self.last, weight, self.constant((out,))], (*self.shape[:-1], out))
        return self.act(act)

    def project(self, out: int, act: str = "") -> Net:
        """Add a product with a weight on the last axis of any tensor, and a bias."""
        weight = self.constant((self.shape[-1], out), self.shape[-1])
        self.node("MatMul", [self.last, weight], (*self.shape[:-1], out))
        self.node("Add", [self.last, self.constant((out,))], self.shape)
        return self.act(act)

    def normalise(self) -> Net:
        """Add a layer normalisation over the last axis."""
        width = (self.shape[-1],)
        names = [self.last, self.constant(width), self.constant(width)]
        return self.node("LayerNormalization", names, self.shape, axis=-1)

    def attention(self, heads: int) -> Net:
        """Add self-attention on ``[batch, tokens, width]``."""
        source, (batch, tokens, width) = self.last, self.shape
        depth = width // heads
        parts = []
        for _ in range(3):
            self.last, self.shape = source, (batch, tokens, width)
            self.project(width)
            split = self.numbers([batch, tokens, heads, depth])
            self.node("Reshape", [self.last, split], (batch, tokens, heads, depth))
            self.node("Transpose", [self.last], (batch, heads, tokens, depth), perm=[0, 2, 1, 3])
            parts.append(self.last)
        query, key, value = parts
        self.node("Transpose", [key], (batch, heads, depth, tokens), perm=[0, 1, 3, 2])
        self.node("MatMul", [query, self.last], (batch, heads, tokens, tokens))
        self.node("Softmax", [self.last], self.shape, axis=-1)
        self.node("MatMul", [self.last, value], (batch, heads, tokens, depth))
        self.node("Transpose", [self.last], (batch, tokens, heads, depth), perm=[0, 2, 1, 3])
        joined = self.numbers([batch, tokens, width])
        self.node("Reshape", [self.last, joined], (batch, tokens, width))
        return self.project(width)

    def save(self, path: Path) -> Path:
        """Write the network; the last tensor is its output."""
        import onnx
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            path.stem,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self._input_shape))],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, list(self.shape))],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return path
