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
        self.input_shape = shape
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
        values = self._rng.standard_normal(shape, np.float32) / np.float32(math.sqrt(fan_in))
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        """Return the name of a new scalar."""
        return self.vector([value], scalar=True)

    def vector(self, values: list[float], *, scalar: bool = False) -> str:
        """Return the name of a new list of values, or of its only one."""
        import numpy as np
        from onnx import numpy_helper

        name = f"v{len(self._constants)}"
        array = np.array(values, np.float32)
        self._constants.append(numpy_helper.from_array(array[0] if scalar else array, name))
        return name

    def numbers(self, values: list[int]) -> str:
        """Return the name of a new list of integers."""
        import numpy as np
        from onnx import numpy_helper

        name = f"n{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def conv(
        self, out: int, size: int = 3, stride: int = 1, groups: int = 1, act: str = "Relu", same: bool = True
    ) -> Net:
        """Add a convolution with bias and its activation; padding keeps ``side / stride`` unless not ``same``."""
        batch, channels, *sides = self.shape
        weight = self.constant((out, channels // groups, *[size] * len(sides)), channels // groups * size)
        reach = size - 1 if same else 0
        pads = [reach // 2] * len(sides) + [reach - reach // 2] * len(sides)
        shape = (batch, out, *[(side + reach - size) // stride + 1 for side in sides])
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
        if name == "Relu6":
            return self.node("Clip", [self.last, self.number(0.0), self.number(6.0)], self.shape)
        return self.node(name, [self.last], self.shape) if name else self

    def back_to(self, name: str, shape: tuple[int, ...]) -> Net:
        """Go on from an earlier tensor."""
        self.last, self.shape = name, shape
        return self

    def add(self, other: str) -> Net:
        """Add another tensor of the same shape."""
        return self.node("Add", [self.last, other], self.shape)

    def join(self, other: str, channels: int) -> Net:
        """Concatenate another tensor of so many channels."""
        return self.join_all([(other, channels)])

    def join_all(self, others: list[tuple[str, int]]) -> Net:
        """Concatenate other tensors, each with its channels."""
        channels = self.shape[1] + sum(count for _, count in others)
        names = [self.last, *(name for name, _ in others)]
        return self.node("Concat", names, (self.shape[0], channels, *self.shape[2:]), axis=1)

    def pool(self, kind: str = "MaxPool", size: int = 2, stride: int = 0, *, same: bool = False) -> Net:
        """Add a pooling; the stride is ``size`` unless given. Without padding a last window that is cut off counts.

        Args:
            kind: operator.
            size: side of the window.
            stride: step of the window; 0 is ``size``.
            same: pad so that the sides are divided by the stride.
        """
        batch, channels, *sides = self.shape
        step, reach = stride or size, size - 1 if same else 0
        short = 0 if same else step - 1
        shape = (batch, channels, *[(side + reach - size + short) // step + 1 for side in sides])
        pads = [reach // 2] * len(sides) + [reach - reach // 2] * len(sides)
        return self.node(
            kind,
            [self.last],
            shape,
            kernel_shape=[size] * len(sides),
            strides=[step] * len(sides),
            pads=pads,
            ceil_mode=0 if same else 1,
        )

    def squeeze_excite(self, width: int, gate: str = "Sigmoid") -> Net:
        """Scale the channels by what a small network of ``width`` makes of their averages."""
        source, shape = self.last, self.shape
        self.node("GlobalAveragePool", [source], (*shape[:2], *[1] * len(shape[2:])))
        self.conv(width, 1).conv(shape[1], 1, act=gate)
        return self.node("Mul", [source, self.last], shape)

    def shuffle(self, groups: int) -> Net:
        """Interleave the channels of the groups."""
        batch, channels, *sides = self.shape
        parts = (batch, groups, channels // groups, *sides)
        turned = (batch, channels // groups, groups, *sides)
        shape = self.shape
        self.node("Reshape", [self.last, self.numbers(list(parts))], parts)
        self.node("Transpose", [self.last], turned, perm=[0, 2, 1, *range(3, 3 + len(sides))])
        return self.node("Reshape", [self.last, self.numbers(list(shape))], shape)

    def split(self) -> tuple[str, str]:
        """Cut the channels in two; return both halves, the second is the last tensor."""
        from onnx import helper

        half = (self.shape[0], self.shape[1] // 2, *self.shape[2:])
        names = [f"split{len(self._nodes)}_{part}" for part in (0, 1)]
        sizes = self.numbers([half[1], half[1]])
        self._nodes.append(helper.make_node("Split", [self.last, sizes], names, name=names[0], axis=1))
        self.back_to(names[1], half)
        return names[0], names[1]

    def enlarge(self, factor: int = 2) -> Net:
        """Repeat each position."""
        shape = (*self.shape[:2], *[side * factor for side in self.shape[2:]])
        scales = self.vector([1.0, 1.0, *[float(factor)] * len(self.shape[2:])])
        return self.node(
            "Resize",
            [self.last, "", scales],
            shape,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

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

    def recurrent(self, op_type: str, hidden: int) -> Net:
        """Add an "LSTM" or "GRU" on ``[steps, batch, width]``; the tensor keeps that form."""
        gates = {"LSTM": 4, "GRU": 3}[op_type]
        steps, batch, width = self.shape
        weights = self.constant((1, gates * hidden, width), width)
        names = [self.last, weights, self.constant((1, gates * hidden, hidden), hidden)]
        self.node(op_type, names, (steps, 1, batch, hidden), hidden_size=hidden)
        return self.node("Squeeze", [self.last, self.numbers([1])], (steps, batch, hidden))

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
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.input_shape))],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, list(self.shape))],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return path
