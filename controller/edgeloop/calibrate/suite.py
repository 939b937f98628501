"""The models that a device is calibrated with: ten, each heavy in another kind of kernel.

Kernel by kernel they span what real networks hold: few and many channels, large and small sides, one thread and all,
arithmetic in cache and streams through memory, and kernels so small that only their overhead is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeloop.calibrate.nets import Net
from edgeloop.domain.recipe import ORIGINAL, Recipe

__all__ = ["SuiteModel", "write_suite"]

_INT8 = Recipe.from_tree("static int8", [{"pass": "quantize_static"}])


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteModel:
    """One model of the suite."""

    #: Name, also that of its family.
    name: str
    #: ONNX file in fp32.
    path: Path
    #: What is done to it before it is measured.
    recipe: Recipe = ORIGINAL
    #: Whether it is measured with all processors as well as with one.
    threaded: bool = False


def write_suite(directory: Path) -> tuple[SuiteModel, ...]:
    """Write the suite; the same bytes every time."""
    directory.mkdir(parents=True, exist_ok=True)
    conv, separable = _conv(directory), _separable(directory)
    perceptron = _perceptron(directory)
    return (
        SuiteModel(name="conv", path=conv, threaded=True),
        SuiteModel(name="pointwise", path=_pointwise(directory)),
        SuiteModel(name="separable", path=separable, threaded=True),
        SuiteModel(name="wide-conv", path=_wide_conv(directory)),
        SuiteModel(name="perceptron", path=perceptron),
        SuiteModel(name="transformer", path=_transformer(directory), threaded=True),
        SuiteModel(name="bytewise", path=_bytewise(directory)),
        SuiteModel(name="tiny", path=_tiny(directory)),
        SuiteModel(name="conv-int8", path=conv, recipe=_INT8),
        SuiteModel(name="separable-int8", path=separable, recipe=_INT8),
    )


def _conv(directory: Path) -> Path:
    """3x3 convolutions from 16 to 256 channels on falling sides."""
    net = Net((1, 3, 96, 96), seed=1).conv(16)
    for out in (32, 64, 128, 256):
        net.conv(out, stride=2).conv(out)
    return net.global_pool().dense(10, "").save(directory / "conv.onnx")


def _pointwise(directory: Path) -> Path:
    """1x1 convolutions, few channels on many positions to many on few."""
    net = Net((1, 16, 56, 56), seed=2)
    for out in (16, 24, 32, 48, 64):
        net.conv(out, 1)
    net.pool()
    for out in (64, 96, 128, 160):
        net.conv(out, 1)
    net.pool()
    for out in (192, 256, 384):
        net.conv(out, 1)
    return net.global_pool().dense(10, "").save(directory / "pointwise.onnx")


def _separable(directory: Path) -> Path:
    """Inverted bottlenecks with skips and two sizes of depthwise kernels."""
    net = Net((1, 3, 112, 112), seed=3).conv(16, stride=2)
    for out, stride, size in ((24, 2, 3), (24, 1, 3), (40, 2, 5), (40, 1, 5), (80, 2, 3), (80, 1, 3)):
        before, channels = net.last, net.shape[1]
        net.conv(channels * 4, 1).depthwise(size, stride).conv(out, 1, act="")
        if stride == 1 and channels == out:
            net.add(before)
    return net.conv(256, 1).global_pool().dense(10, "").save(directory / "separable.onnx")


def _wide_conv(directory: Path) -> Path:
    """Activations that do not fit a cache, and one large kernel at the beginning."""
    net = Net((1, 3, 256, 256), seed=4).conv(24, 7, 2).conv(24).pool()
    for out in (48, 96):
        before = net.conv(out).last
        net.conv(out, act="").add(before).act("Relu").pool()
    return net.global_pool().dense(10, "").save(directory / "wide-conv.onnx")


def _perceptron(directory: Path) -> Path:
    """Products of one row with matrices that are read once each."""
    net = Net((1, 512), seed=5)
    for width in (1024, 1024, 512, 256):
        net.dense(width)
    return net.dense(10, "").save(directory / "perceptron.onnx")


def _transformer(directory: Path) -> Path:
    """Two encoder layers on 64 tokens."""
    net = Net((1, 64, 128), seed=6)
    for _ in range(2):
        before = net.last
        net.normalise().attention(4).add(before)
        before = net.last
        net.normalise().project(512, "Relu").project(128).add(before)
    return net.save(directory / "transformer.onnx")


def _bytewise(directory: Path) -> Path:
    """Elementwise, pooling, reduction, resizing and layout on half a million values."""
    net = Net((1, 32, 128, 128), seed=7)
    first = net.last
    net.act("Sigmoid").add(first).act("Tanh").node("Mul", [net.last, first], net.shape)
    net.act("HardSwish").pool("AveragePool").act("Relu")
    net.node("Transpose", [net.last], (1, 64, 64, 32), perm=[0, 2, 3, 1])
    net.node("Softmax", [net.last], net.shape, axis=-1)
    net.node("Transpose", [net.last], (1, 32, 64, 64), perm=[0, 3, 1, 2])
    net.pool().join(net.last, net.shape[1]).act("Erf")
    return net.global_pool().save(directory / "bytewise.onnx")


def _tiny(directory: Path) -> Path:
    """Forty kernels on sixteen numbers: what is left is the overhead."""
    net = Net((1, 16), seed=8)
    for index in range(20):
        net.dense(16, "Tanh" if index % 2 else "Sigmoid")
    return net.dense(4, "").save(directory / "tiny.onnx")
