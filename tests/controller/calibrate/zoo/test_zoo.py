"""Architectures have the parameters and the multiply-accumulates that were published for them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.calibrate.zoo import find
from edgeloop.compress.lowering import lower

# Millions of parameters (without batch normalisation) and of multiply-accumulates: the papers, torchvision, timm.
PUBLISHED = {
    "mobilenet-v1-1.0-224": (4.22, 569),
    "mobilenet-v1-0.25-128": (0.47, 14),
    "mobilenet_v2": (3.49, 301),
    "mobilenet_v3": (5.47, 217),
    "mobilenet-v3-small": (2.54, 56.5),
    "mnasnet": (4.36, 314),
    "efficientnet_b0": (5.27, 386),
    "efficientnet-lite0": (4.63, 385),
    "resnet18": (11.68, 1814),
    "resnet50": (25.53, 4089),
    "shufflenet": (1.86, 137),
    "shufflenet_v2": (2.27, 145),
    "googlenet": (6.99, 1583),
    "regnety_400m": (4.33, 402),
    "yolov4-tiny": (6.06, 3454),
    "yolov8n": (3.15, 4350),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_size_and_work_are_those_that_were_published(name: str, tmp_path: Path) -> None:
    model = find(name)
    assert model is not None
    net = model.build()
    path = net.save(tmp_path / "net.onnx")
    weights = [t for t in onnx.load(path).graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    parameters, macs = PUBLISHED[name]
    assert sum(math.prod(t.dims) for t in weights) / 1e6 == pytest.approx(parameters, rel=0.015)
    kernels = lower(path, {"x": np.zeros(net.input_shape, np.float32)}).kernels
    assert sum(kernel.macs for kernel in kernels) / 1e6 == pytest.approx(macs, rel=0.035)


@pytest.mark.parametrize(
    ("name", "side", "full"),
    [
        ("SqueezeNet_1.1", 0, "squeezenet-1.1@227"),
        ("mobilenet-v1-0.5-160", 0, "mobilenet-v1-0.5-160@160"),
        ("mobilenet-v1-0.5-160", 160, "mobilenet-v1-0.5-160@160"),
        ("efficientnet_lite3", 0, "efficientnet-lite3"),
        ("yolov8s", 320, "yolov8s@320"),
    ],
)
def test_published_names_are_found(name: str, side: int, full: str) -> None:
    found = find(name, side)
    assert found is not None
    assert found.name == full


@pytest.mark.parametrize("name", ["proxylessnasnet", "mobilenet-v9", "resnet-19", ""])
def test_other_names_are_not(name: str) -> None:
    assert find(name) is None
