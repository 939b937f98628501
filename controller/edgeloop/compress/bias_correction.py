"""Removes the mean error that rounded weights give each output channel of a product.

Source: Nagel, van Baalen, Blankevoort and Welling, Data-Free Quantization Through Weight Equalization and Bias
Correction, ICCV 2019, section 4.2: E[y'] = E[y] + (W' - W) E[x]; here E[x] is measured on calibration items.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop.compress.graph import attribute, load_model, save_model
from edgeloop.compress.items import Feed, feeds_of
from edgeloop.compress.products import channel_axis
from edgeloop.compress.runtime import open_session
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["CORRECTED", "correct_biases", "give_biases", "input_means"]

CORRECTED = ("Conv", "Gemm")
"""Products that have a bias to put the correction into."""


def give_biases(path: Path) -> None:
    """Give every Conv and Gemm with a constant weight and no bias one of zeros."""
    import numpy as np
    import onnx

    proto = load_model(path, external=True)
    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in CORRECTED and node.input[1] in held and (len(node.input) < 3 or not node.input[2]):
            count = held[node.input[1]].dims[channel_axis(node)]
            name = f"{node.output[0]}_zero_bias"
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(count, np.float32), name))
            if len(node.input) < 3:
                node.input.append(name)
            else:
                node.input[2] = name
    save_model(proto, path)


def input_means(path: Path, data: Dataset, model: ModelDescription) -> dict[str, Array]:
    """Return the mean of each input channel of every Conv and Gemm by the node's name."""
    import numpy as np
    import onnx

    proto = load_model(path, external=True)
    wanted = {n.name: (n.input[0], _input_axis(n)) for n in proto.graph.node if n.op_type in CORRECTED}
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    inner = sorted({name for name, _ in wanted.values()} - known)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    exposed = path.with_name("exposed.onnx")
    save_model(proto, exposed)
    session = open_session(exposed)
    names = [output.name for output in session.get_outputs()]
    sums: dict[str, Array] = {}
    count = 0
    latest: tuple[Feed | None, dict[str, NDArray[np.generic]]] = (None, {})

    def step(feed: Feed) -> dict[str, NDArray[np.generic]]:
        nonlocal count, latest
        if latest[0] is feed:
            return latest[1]
        found = dict(zip(names, session.run(None, feed), strict=True))
        count += 1
        for name, (tensor, axis) in wanted.items():
            values = np.asarray(found[tensor] if tensor in found else feed[tensor], np.float64)
            mean = values.mean(axis=tuple(i for i in range(values.ndim) if i != axis))
            sums[name] = sums.get(name, 0.0) + mean
        latest = (feed, found)
        return found

    for feed in feeds_of(data, model.inputs, step):
        step(feed)
    return {name: total / count for name, total in sums.items()}


def _input_axis(node: Any) -> int:
    return 0 if node.op_type == "Gemm" and attribute(node, "transA", 0) else 1


def correct_biases(quantized: Any, prepared: Any, means: Mapping[str, Array]) -> int:
    """Shift the int32 biases of a QDQ model in place and return how many were changed.

    Args:
        quantized: the QDQ model.
        prepared: the float model that it was made from.
        means: mean of each input channel by node name.
    """
    import numpy as np
    import onnx

    held = {tensor.name: tensor for tensor in quantized.graph.initializer}
    floats = {tensor.name: tensor for tensor in prepared.graph.initializer}
    before = {node.name: node for node in prepared.graph.node}
    made = {node.output[0]: node for node in quantized.graph.node}
    changed = 0
    for node in quantized.graph.node:
        original = before.get(node.name)
        pairs: list[Any] = [made[name] for name in node.input[1:3] if name in made]
        if original is None or node.name not in means or len(pairs) < 2:
            continue
        weight, bias = pairs
        if weight.input[0] not in held or bias.input[0] not in held or original.input[1] not in floats:
            continue
        exact = onnx.numpy_helper.to_array(floats[original.input[1]]).astype(np.float64)
        error = _dequantized(weight, held) - exact
        shift = _mean_shift(error, means[node.name], node)
        scale = onnx.numpy_helper.to_array(held[bias.input[1]]).astype(np.float64)
        tensor = held[bias.input[0]]
        levels = onnx.numpy_helper.to_array(tensor) - np.rint(shift / scale)
        limit = np.iinfo(np.int32)
        levels = np.clip(levels, limit.min, limit.max).astype(np.int32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(levels, tensor.name))
        changed += 1
    return changed


def _dequantized(pair: Any, held: Mapping[str, Any]) -> Array:
    import numpy as np
    import onnx

    values, scale = (onnx.numpy_helper.to_array(held[name]).astype(np.float64) for name in pair.input[:2])
    has_zero = len(pair.input) > 2 and pair.input[2] in held
    zero = onnx.numpy_helper.to_array(held[pair.input[2]]).astype(np.float64) if has_zero else np.zeros(1)
    axis = int(attribute(pair, "axis", 1)) % max(1, values.ndim)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    result: Array = (values - (zero.reshape(shape) if zero.size > 1 else zero.reshape(-1)[0])) * (
        scale.reshape(shape) if scale.size > 1 else scale.reshape(-1)[0]
    )
    return result


def _mean_shift(error: Array, mean: Array, node: Any) -> Array:
    """Return (W' - W) E[x] per output channel; padding counts as if it had the channel's mean."""
    import numpy as np

    if node.op_type == "Gemm":
        matrix = error.T if attribute(node, "transB", 0) else error
        result: Array = float(attribute(node, "alpha", 1.0)) * (mean @ matrix)
        return result
    groups = int(attribute(node, "group", 1))
    per_input = error.reshape(*error.shape[:2], -1).sum(axis=2)
    parts = zip(np.split(per_input, groups), np.split(mean, groups), strict=True)
    return np.concatenate([part @ inputs for part, inputs in parts])
