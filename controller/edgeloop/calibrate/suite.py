"""The models that a device is calibrated with: ten, each heavy in another kind of kernel.

Kernel by kernel they span what real networks hold: few and many channels, whole groups of channels and odd ones, large
and small sides, strides, groups, arithmetic in cache and streams through memory, and kernels so small that only their
overhead is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeloop.calibrate.nets import Net
from edgeloop.domain.recipe import ORIGINAL, Recipe

__all__ = ["TRANSFER_MODELS", "SuiteModel", "write_suite"]

TRANSFER_MODELS = ("conv", "separable", "transformer", "bytewise", "conv-int8")
"""Those that are enough on a device like one that was calibrated: convolutions in both precisions, products, bytes."""

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
    return (
        SuiteModel(name="conv", path=conv, threaded=True),
        SuiteModel(name="pointwise", path=_pointwise(directory), threaded=True),
        SuiteModel(name="separable", path=separable, threaded=True),
        SuiteModel(name="perceptron", path=_perceptron(directory)),
        SuiteModel(name="sequence", path=_sequence(directory)),
        SuiteModel(name="transformer", path=_transformer(directory), threaded=True),
        SuiteModel(name="bytewise", path=_bytewise(directory), threaded=True),
        SuiteModel(name="tiny", path=_tiny(directory)),
        SuiteModel(name="conv-int8", path=conv, recipe=_INT8),
        SuiteModel(name="separable-int8", path=separable, recipe=_INT8),
    )


def _conv(directory: Path) -> Path:
    """Full convolutions: a large kernel on the input, 16 to 512 channels on falling sides, groups, other kernels."""
    net = Net((1, 3, 192, 192), seed=1).conv(24, 7, 2).conv(16)
    for out, stride in ((32, 2), (48, 1), (64, 2), (96, 1), (128, 2), (192, 1), (256, 2)):
        net.conv(out, stride=stride)
    net.conv(256, groups=8).conv(240, 1).conv(240, 1, groups=3).conv(96, groups=12).conv(64, 5).conv(
        128, 5, groups=16
    )
    net.conv(512).conv(512, stride=2).conv(104, 1, 2).conv(104, groups=13).conv(200)
    return net.global_pool().dense(10, "").save(directory / "conv.onnx")


def _pointwise(directory: Path) -> Path:
    """1x1 convolutions: few channels on many positions to many on few, down to a single position."""
    net = Net((1, 16, 96, 96), seed=2)
    stages = (
        (16, 24, 72, 32, 64),
        (64, 96, 40, 120, 160),
        (192, 256, 100, 384),
        (128, 512, 200, 640),
        (960, 320, 1280),
    )
    for place, stage in enumerate(stages):
        if place:
            net.pool(size=4 if place == len(stages) - 1 else 2)
        for index, out in enumerate(stage):
            net.conv(out, 1, act="Relu" if index % 2 else "Relu6")
    return net.global_pool().dense(10, "").save(directory / "pointwise.onnx")


def _separable(directory: Path) -> Path:
    """Inverted bottlenecks: two sizes of depthwise kernels, skips, squeezes and the activations that go with them."""
    net = Net((1, 3, 160, 160), seed=3).conv(16, stride=2, act="HardSwish")
    for out, stride, size, act in (
        (24, 2, 3, "Relu"),
        (24, 1, 3, "Silu"),
        (40, 2, 5, "Relu6"),
        (40, 1, 5, "HardSwish"),
        (80, 2, 3, "Relu"),
        (80, 1, 3, "Silu"),
        (116, 1, 5, "Relu"),
        (160, 2, 3, "Relu"),
        (160, 1, 3, "Relu"),
    ):
        before, channels = net.last, net.shape[1]
        net.conv(channels * 4, 1, act=act).depthwise(size, stride, act)
        if act in ("HardSwish", "Silu"):
            net.squeeze_excite(channels, "HardSigmoid" if act == "HardSwish" else "Sigmoid")
        net.conv(out, 1, act="")
        if stride == 1 and channels == out:
            net.add(before)
    return net.conv(640, 1).global_pool().dense(10, "").save(directory / "separable.onnx")


def _perceptron(directory: Path) -> Path:
    """Products of one row with matrices that are read once each, small ones and one beyond any cache."""
    net = Net((1, 512), seed=5)
    for width in (1024, 4096, 2048, 512, 256, 128):
        net.dense(width)
    return net.dense(10, "").save(directory / "perceptron.onnx")


def _sequence(directory: Path) -> Path:
    """Convolutions over time, then two recurrent layers."""
    net = Net((1, 40, 400), seed=9).conv(64, 5, 2).conv(96, 3).conv(96, 3, 2).depthwise(5).conv(128, 1)
    batch, channels, steps = net.shape
    net.node("Transpose", [net.last], (steps, batch, channels), perm=[2, 0, 1])
    net.recurrent("LSTM", 128).recurrent("GRU", 64)
    return net.project(16).save(directory / "sequence.onnx")


def _transformer(directory: Path) -> Path:
    """Three encoder layers on 96 tokens, normalised before and after."""
    net = Net((1, 96, 192), seed=6)
    for act in ("Relu", "Erf"):
        before = net.last
        net.normalise().attention(4).add(before)
        before = net.last
        net.normalise().project(768, act).project(192).add(before)
    before = net.last
    net.attention(4).add(before).normalise()
    before = net.last
    net.project(768, "Tanh").project(192).add(before).normalise()
    return net.save(directory / "transformer.onnx")


def _bytewise(directory: Path) -> Path:
    """Elementwise, pooling, reduction, resizing and layout, on half a million values down to some thousand."""
    net = Net((1, 32, 128, 128), seed=7)
    first = net.last
    net.act("Sigmoid").add(first).act("Tanh").node("Mul", [net.last, first], net.shape)
    net.act("HardSwish").pool("AveragePool", 3, 2, same=True).act("LeakyRelu").pool(
        size=3, stride=1, same=True
    )
    net.node("Transpose", [net.last], (1, 64, 64, 32), perm=[0, 2, 3, 1])
    net.node("Transpose", [net.last], (1, 32, 64, 64), perm=[0, 3, 1, 2]).shuffle(2)
    net.node("LRN", [net.last], net.shape, size=5, alpha=1e-4, beta=0.75, bias=1.0)
    net.pool("AveragePool").join(net.last, net.shape[1]).act("Erf").pool(size=3, stride=2)
    kept, _ = net.split()
    net.act("Relu").join(kept, net.shape[1]).enlarge().act("Sigmoid").pool(size=5, stride=1, same=True)
    return net.global_pool().save(directory / "bytewise.onnx")


def _tiny(directory: Path) -> Path:
    """Forty kernels on sixteen numbers: what is left is the overhead."""
    net = Net((1, 16), seed=8)
    for index in range(20):
        net.dense(16, "Tanh" if index % 2 else "Sigmoid")
    return net.dense(4, "").save(directory / "tiny.onnx")
