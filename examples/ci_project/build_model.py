"""Builds the example's model: a small convolutional network that tells four shapes apart.

Usage: python build_model.py [--plant slowdown|parity]

Writes ``reference.onnx`` (what was reviewed last), ``model.onnx`` (what would be shipped now) and ``shapes.npz`` (items
with labels). The features are fixed random filters; the head is fitted to half of the items, and the accuracy on the
other half is printed.

``--plant`` shows that the tests find something. "slowdown" adds a tenth of graph work whose outputs are the same: two
more convolutions behind the twenty, with kernels that pass their input through. "parity" alters one weight.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, LAYERS, CLASSES, ITEMS = 16, 32, 20, 4, 400
Floats = NDArray[np.float32]


def shapes(rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
    """Return noisy images [items, 1, side, side] of bars, columns, diagonals and squares, and their classes."""
    labels = np.arange(ITEMS) % CLASSES
    images = 0.5 * rng.standard_normal((ITEMS, 1, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        place = int(rng.integers(2, SIDE - 6))
        if label == 0:
            image[0, place : place + 2, :] += 2
        elif label == 1:
            image[0, :, place : place + 2] += 2
        elif label == 2:
            image[0] += 2 * np.eye(SIDE, k=place - SIDE // 2)
        else:
            image[0, place : place + 4, place : place + 4] += 2
    return images.astype(np.float32), labels


def pass_through() -> Floats:
    """Return 3x3 kernels that copy every channel: as much work as any other, and no effect after a Relu."""
    kernels = np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32)
    kernels[range(CHANNELS), range(CHANNELS), 1, 1] = 1
    return kernels


def network(kernels: list[Floats], head: Floats) -> onnx.ModelProto:
    """Return Conv and Relu for every kernel, then pooling and one Gemm."""
    nodes, weights, current = [], [], "image"
    for index, kernel in enumerate(kernels):
        weights.append(numpy_helper.from_array(kernel, f"kernel{index}"))
        nodes.append(
            helper.make_node("Conv", [current, f"kernel{index}"], [f"conv{index}"], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [f"relu{index}"]))
        current = f"relu{index}"
    nodes += [
        helper.make_node("AveragePool", [current], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head"], ["logits"]),
    ]
    weights.append(numpy_helper.from_array(head, "head"))
    graph = helper.make_graph(
        nodes,
        "shapes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def features(kernels: list[Floats], images: Floats) -> Floats:
    """Return what the head sees, computed by the same runtime that will run the model."""
    import onnxruntime

    wide = CHANNELS * (SIDE // 4) ** 2
    model = network(kernels, np.eye(wide, dtype=np.float32)[:, :CLASSES])
    model.graph.output[0].name = "features"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = wide
    del model.graph.node[-1], model.graph.initializer[-1]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Floats = session.run(["features"], {"image": images})[0]
    return found


def main() -> None:
    """Build, fit, judge, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--plant", choices=["slowdown", "parity"], help="a fault that the tests have to find")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="directory")
    arguments = parser.parse_args()
    rng = np.random.default_rng(11)
    images, labels = shapes(rng)
    kernels = [(rng.standard_normal((CHANNELS, 1, 3, 3)) / 3).astype(np.float32)]
    for _ in range(LAYERS - 1):
        # Half of each kernel passes its input through, so that the image survives twenty layers.
        noise = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / math.sqrt(9 * CHANNELS)
        kernels.append((0.5 * noise + 0.7 * pass_through()).astype(np.float32))
    seen = features(kernels, images)
    scale = np.float32(1 / seen.std())
    half = ITEMS // 2
    wanted = np.eye(CLASSES)[labels[:half]]
    known = (seen[:half] * scale).astype(np.float64)
    ridge = known.T @ known + 10.0 * np.eye(known.shape[1])
    head = (np.linalg.solve(ridge, known.T @ wanted) * scale).astype(np.float32)
    accuracy = float((np.argmax(seen[half:] @ head, axis=1) == labels[half:]).mean())
    print(f"accuracy on the {half} items it was not fitted to: {100 * accuracy:.1f} %")

    arguments.output.mkdir(parents=True, exist_ok=True)
    onnx.save(network(kernels, head), arguments.output / "reference.onnx")
    if arguments.plant == "slowdown":
        kernels = [*kernels, pass_through(), pass_through()]
    if arguments.plant == "parity":
        head = head.copy()
        head[np.unravel_index(np.abs(head).argmax(), head.shape)] *= -1
    shipped = network(kernels, head)
    shipped.producer_name = "build_model.py"
    onnx.save(shipped, arguments.output / "model.onnx")
    np.savez(arguments.output / "shapes.npz", image=images, labels=labels)


if __name__ == "__main__":
    main()
