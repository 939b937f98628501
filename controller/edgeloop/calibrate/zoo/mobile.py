"""MobileNet V1 to V3, MnasNet and EfficientNet: depthwise separable convolutions in all their forms."""

from __future__ import annotations

import math

from edgeloop.calibrate.nets import Net

__all__ = [
    "MOBILENET_V2_STAGES",
    "efficientnet",
    "efficientnet_lite",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
]

_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Howard et al. 2017, table 1: channels and stride."""

MOBILENET_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Sandler et al. 2018, table 2: expansion, channels, repeats and stride."""

_V3 = {
    "large": (
        (3, 16, 16, 0, "Relu", 1), (3, 64, 24, 0, "Relu", 2), (3, 72, 24, 0, "Relu", 1),
        (5, 72, 40, 1, "Relu", 2), (5, 120, 40, 1, "Relu", 1), (5, 120, 40, 1, "Relu", 1),
        (3, 240, 80, 0, "HardSwish", 2), (3, 200, 80, 0, "HardSwish", 1), (3, 184, 80, 0, "HardSwish", 1),
        (3, 184, 80, 0, "HardSwish", 1), (3, 480, 112, 1, "HardSwish", 1), (3, 672, 112, 1, "HardSwish", 1),
        (5, 672, 160, 1, "HardSwish", 2), (5, 960, 160, 1, "HardSwish", 1), (5, 960, 160, 1, "HardSwish", 1),
    ),
    "small": (
        (3, 16, 16, 1, "Relu", 2), (3, 72, 24, 0, "Relu", 2), (3, 88, 24, 0, "Relu", 1),
        (5, 96, 40, 1, "HardSwish", 2), (5, 240, 40, 1, "HardSwish", 1), (5, 240, 40, 1, "HardSwish", 1),
        (5, 120, 48, 1, "HardSwish", 1), (5, 144, 48, 1, "HardSwish", 1), (5, 288, 96, 1, "HardSwish", 2),
        (5, 576, 96, 1, "HardSwish", 1), (5, 576, 96, 1, "HardSwish", 1),
    ),
}  # fmt: skip
"""Howard et al. 2019, tables 1 and 2: kernel, expanded and output channels, squeeze, activation, stride."""

_B0 = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
"""Tan and Le 2019, table 1: expansion, channels, repeats, stride and kernel."""

_MNASNET = (
    (3, 24, 3, 2, 3), (3, 40, 3, 2, 5), (6, 80, 3, 2, 5), (6, 96, 2, 1, 3), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
"""Tan et al. 2019, MnasNet-B1."""

LITE = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260), 3: (1.2, 1.4, 280), 4: (1.4, 1.8, 300)}
"""Width, depth and side of each EfficientNet-Lite."""


def _whole(channels: float) -> int:
    """Round channels to a multiple of 8 that is not more than a tenth below."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def _bottleneck(
    net: Net,
    expanded: int,
    out: int,
    size: int,
    stride: int,
    act: str,
    squeeze: int = 0,
    gate: str = "Sigmoid",
) -> None:
    before, channels = net.last, net.shape[1]
    if expanded != channels:
        net.conv(expanded, 1, act=act)
    net.depthwise(size, stride, act)
    if squeeze:
        net.squeeze_excite(squeeze, gate)
    net.conv(out, 1, act="")
    if stride == 1 and channels == out:
        net.add(before)


def mobilenet_v1(side: int = 224, width: float = 1.0, classes: int = 1000) -> Net:
    """Return MobileNetV1."""
    net = Net((1, 3, side, side)).conv(int(32 * width), stride=2, act="Relu6")
    for out, stride in _V1:
        net.depthwise(3, stride, "Relu6").conv(int(out * width), 1, act="Relu6")
    return net.global_pool().dense(classes, "")


def mobilenet_v2(side: int = 224, width: float = 1.0, classes: int = 1000) -> Net:
    """Return MobileNetV2."""
    net = Net((1, 3, side, side)).conv(_whole(32 * width), stride=2, act="Relu6")
    for expansion, channels, repeats, stride in MOBILENET_V2_STAGES:
        for index in range(repeats):
            expanded = net.shape[1] * expansion
            _bottleneck(net, expanded, _whole(channels * width), 3, 1 if index else stride, "Relu6")
    return net.conv(_whole(1280 * max(1.0, width)), 1, act="Relu6").global_pool().dense(classes, "")


def mobilenet_v3(side: int = 224, size: str = "large", classes: int = 1000) -> Net:
    """Return MobileNetV3 "large" or "small"."""
    net = Net((1, 3, side, side)).conv(16, stride=2, act="HardSwish")
    for kernel, expanded, out, squeeze, act, stride in _V3[size]:
        width = _whole(expanded / 4) if squeeze else 0
        _bottleneck(net, expanded, out, kernel, stride, act, width, "HardSigmoid")
    last, head = (960, 1280) if size == "large" else (576, 1024)
    return net.conv(last, 1, act="HardSwish").global_pool().dense(head, "HardSwish").dense(classes, "")


def mnasnet(side: int = 224, classes: int = 1000) -> Net:
    """Return MnasNet-B1."""
    net = Net((1, 3, side, side)).conv(32, stride=2).depthwise().conv(16, 1, act="")
    for expansion, channels, repeats, stride, kernel in _MNASNET:
        for index in range(repeats):
            _bottleneck(net, net.shape[1] * expansion, channels, kernel, 1 if index else stride, "Relu")
    return net.conv(1280, 1).global_pool().dense(classes, "")


def efficientnet(side: int = 224, classes: int = 1000) -> Net:
    """Return EfficientNet-B0."""
    net = Net((1, 3, side, side)).conv(32, stride=2, act="Silu")
    for expansion, channels, repeats, stride, kernel in _B0:
        for index in range(repeats):
            squeeze = max(1, net.shape[1] // 4)
            _bottleneck(
                net, net.shape[1] * expansion, channels, kernel, 1 if index else stride, "Silu", squeeze
            )
    return net.conv(1280, 1, act="Silu").global_pool().dense(classes, "")


def efficientnet_lite(number: int, side: int = 0, classes: int = 1000) -> Net:
    """Return EfficientNet-Lite 0 to 4; the side is the one it was published with unless given."""
    width, depth, own = LITE[number]
    net = Net((1, 3, side or own, side or own)).conv(32, stride=2, act="Relu6")
    for place, (expansion, channels, repeats, stride, kernel) in enumerate(_B0):
        outer = place in (0, len(_B0) - 1)
        for index in range(repeats if outer else math.ceil(repeats * depth)):
            out = _whole(channels * width)
            _bottleneck(net, net.shape[1] * expansion, out, kernel, 1 if index else stride, "Relu6")
    return net.conv(1280, 1, act="Relu6").global_pool().dense(classes, "")
