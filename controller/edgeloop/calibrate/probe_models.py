"""The models of the probe: one convolution, or one stream through memory, and nothing beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CHANNELS", "ENCODINGS", "REFERENCE_CHANNELS", "STREAM_BYTES", "ProbeModel", "write_models"]

REFERENCE_CHANNELS = 64
CHANNELS = (48, 56, 60, 62, 63, REFERENCE_CHANNELS, 72, 80)
"""Multiples of 16, 8, 4, 2 and 1 around 64, so that every plausible block has counts on and off it."""

ENCODINGS = ("U8S8", "S8S8", "U8U8")

_SIZE = 28
_KERNEL = 3
_LAYERS = 3
_OPSET = 17
_IR = 8
_STREAM_ELEMENTS = 1 << 22
_STREAM_ADDITIONS = 4

STREAM_BYTES = 4 * _STREAM_ELEMENTS * (1 + 2 * _STREAM_ADDITIONS + 1)
"""Bytes that the stream model moves at least: one expansion written, each addition read and written, one sum read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeModel:
    """One model and the question it asks."""

    #: Name, unique among the models of a probe.
    name: str
    #: ONNX file.
    path: Path
    #: Multiply-accumulates of one inference; 0 for a stream.
    macs: int


def write_models(directory: Path) -> tuple[ProbeModel, ...]:
    """Write every model of the probe; the same bytes every time."""
    models = [_conv(directory, channels) for channels in CHANNELS]
    models += [_int8_conv(directory, encoding) for encoding in ENCODINGS]
    models += [_half_conv(directory), _stream(directory)]
    return tuple(models)


def _macs(channels: int) -> int:
    return _LAYERS * channels * channels * _KERNEL * _KERNEL * _SIZE * _SIZE


def _save(directory: Path, name: str, graph: Any, macs: int) -> ProbeModel:
    import onnx

    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    path = directory / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return ProbeModel(name=name, path=path, macs=macs)


def _weights(channels: int, dtype: str) -> Any:
    import numpy as np

    rng = np.random.default_rng(channels)
    shape = (channels, channels, _KERNEL, _KERNEL)
    if dtype.startswith("float"):
        return (rng.standard_normal(shape) / math.sqrt(channels * _KERNEL**2)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=np.dtype(dtype).type)


def _chain(channels: int, dtype: str) -> Any:
    """Return a graph of convolutions, each with the ReLU that runtimes fuse into it."""
    from onnx import helper, numpy_helper

    element = helper.np_dtype_to_tensor_dtype(_numpy(dtype))
    shape = [1, channels, _SIZE, _SIZE]
    nodes = []
    for layer in range(_LAYERS):
        nodes += [
            helper.make_node("Conv", [f"x{layer}", "w"], [f"c{layer}"], name=f"conv{layer}", pads=[1] * 4),
            helper.make_node("Relu", [f"c{layer}"], [f"x{layer + 1}"], name=f"relu{layer}"),
        ]
    return helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x0", element, shape)],
        [helper.make_tensor_value_info(f"x{_LAYERS}", element, shape)],
        [numpy_helper.from_array(_weights(channels, dtype), "w")],
    )


def _numpy(dtype: str) -> Any:
    import numpy as np

    return np.dtype(dtype)


def _conv(directory: Path, channels: int) -> ProbeModel:
    return _save(directory, f"conv-{channels}", _chain(channels, "float32"), _macs(channels))


def _half_conv(directory: Path) -> ProbeModel:
    graph = _chain(REFERENCE_CHANNELS, "float16")
    return _save(directory, "conv-fp16", graph, _macs(REFERENCE_CHANNELS))


def _int8_conv(directory: Path, encoding: str) -> ProbeModel:
    import numpy as np
    from onnx import helper, numpy_helper

    activation, weight = ({"U": "uint8", "S": "int8"}[letter] for letter in (encoding[0], encoding[2]))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(activation))
    shape = [1, REFERENCE_CHANNELS, _SIZE, _SIZE]
    zero = {"uint8": 128, "int8": 0}
    constants = [
        numpy_helper.from_array(_weights(REFERENCE_CHANNELS, weight), "w"),
        numpy_helper.from_array(np.array(0.02, np.float32), "scale"),
        numpy_helper.from_array(np.array(0.002, np.float32), "w_scale"),
        numpy_helper.from_array(np.array(zero[activation], activation), "zero"),
        numpy_helper.from_array(np.array(zero[weight], weight), "w_zero"),
    ]
    nodes = [
        helper.make_node(
            "QLinearConv",
            [f"x{layer}", "scale", "zero", "w", "w_scale", "w_zero", "scale", "zero"],
            [f"x{layer + 1}"],
            name=f"conv{layer}",
            pads=[1] * 4,
        )
        for layer in range(_LAYERS)
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x0", element, shape)],
        [helper.make_tensor_value_info(f"x{_LAYERS}", element, shape)],
        constants,
    )
    return _save(directory, f"conv-{encoding}", graph, _macs(REFERENCE_CHANNELS))


def _stream(directory: Path) -> ProbeModel:
    """Write a model that fills memory from one number, so that nothing large has to be sent."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Expand", ["x", "shape"], ["s0"], name="expand")]
    nodes += [
        helper.make_node("Add", [f"s{step}", "x"], [f"s{step + 1}"], name=f"add{step}")
        for step in range(_STREAM_ADDITIONS)
    ]
    nodes.append(helper.make_node("ReduceMax", [f"s{_STREAM_ADDITIONS}"], ["y"], name="maximum", keepdims=0))
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(np.array([_STREAM_ELEMENTS], np.int64), "shape")],
    )
    return _save(directory, "stream", graph, 0)
