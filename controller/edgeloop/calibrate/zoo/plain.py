"""Networks of full convolutions: AlexNet, VGG, GoogLeNet, SqueezeNet, ResNet, RegNet."""

from __future__ import annotations

from edgeloop.calibrate.nets import Net

__all__ = ["alexnet", "googlenet", "regnety_400m", "resnet", "squeezenet", "vgg16"]

_RESNET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""He et al. 2016, table 1."""

_INCEPTION = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
"""Szegedy et al. 2015, table 1: 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, after the pooling."""

_FIRE = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""SqueezeNet 1.1: channels of squeeze and of each expansion."""

_REGNETY_400M = ((48, 1), (104, 3), (208, 6), (440, 6))
"""Radosavovic et al. 2020: channels and depth; groups of 8 channels."""


def _local_response(net: Net) -> None:
    net.node("LRN", [net.last], net.shape, size=5, alpha=1e-4, beta=0.75, bias=1.0)


def alexnet(side: int = 227, classes: int = 1000) -> Net:
    """Return AlexNet with its two groups."""
    net = Net((1, 3, side, side)).conv(96, 11, 4, same=False)
    _local_response(net)
    net.pool(size=3, stride=2).conv(256, 5, groups=2)
    _local_response(net)
    net.pool(size=3, stride=2).conv(384).conv(384, groups=2).conv(256, groups=2).pool(size=3, stride=2)
    width = net.shape[1] * net.shape[2] * net.shape[3]
    net.node("Flatten", [net.last], (1, width))
    return net.dense(4096).dense(4096).dense(classes, "")


def vgg16(side: int = 224, classes: int = 1000) -> Net:
    """Return VGG-16."""
    net = Net((1, 3, side, side))
    for out, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            net.conv(out)
        net.pool()
    net.node("Flatten", [net.last], (1, net.shape[1] * net.shape[2] * net.shape[3]))
    return net.dense(4096).dense(4096).dense(classes, "")


def googlenet(side: int = 224, classes: int = 1000) -> Net:
    """Return GoogLeNet without its auxiliary heads."""
    net = Net((1, 3, side, side)).conv(64, 7, 2).pool(size=3, stride=2)
    _local_response(net)
    net.conv(64, 1).conv(192)
    _local_response(net)
    net.pool(size=3, stride=2)
    for index, (one, reduced, three, narrow, five, pooled) in enumerate(_INCEPTION):
        source, shape = net.last, net.shape
        parts = [(net.conv(one, 1).last, one)]
        parts.append((net.back_to(source, shape).conv(reduced, 1).conv(three).last, three))
        parts.append((net.back_to(source, shape).conv(narrow, 1).conv(five, 5).last, five))
        net.back_to(source, shape).pool(size=3, stride=1, same=True).conv(pooled, 1).join_all(parts)
        if index in (1, 6):
            net.pool(size=3, stride=2)
    return net.global_pool().dense(classes, "")


def squeezenet(side: int = 227, classes: int = 1000) -> Net:
    """Return SqueezeNet 1.1."""
    net = Net((1, 3, side, side)).conv(64, 3, 2, same=False).pool(size=3, stride=2)
    for index, (squeeze, expand) in enumerate(_FIRE):
        source, shape = net.conv(squeeze, 1).last, net.shape
        left = net.conv(expand, 1).last
        net.back_to(source, shape).conv(expand).join(left, expand)
        if index in (1, 3):
            net.pool(size=3, stride=2)
    return net.conv(classes, 1).global_pool()


def resnet(depth: int = 50, side: int = 224, classes: int = 1000) -> Net:
    """Return ResNet 18, 34 or 50; the 50's stride is on its 3x3 (version 1.5)."""
    net = Net((1, 3, side, side)).conv(64, 7, 2).pool(size=3, stride=2, same=True)
    deep = depth >= 50
    for stage, repeats in enumerate(_RESNET[depth]):
        width = 64 << stage
        for index in range(repeats):
            stride = 2 if stage and not index else 1
            out = width * 4 if deep else width
            source, shape = net.last, net.shape
            if deep:
                net.conv(width, 1).conv(width, 3, stride).conv(out, 1, act="")
            else:
                net.conv(width, 3, stride).conv(out, act="")
            inner, inner_shape = net.last, net.shape
            if shape != inner_shape:
                source = net.back_to(source, shape).conv(out, 1, stride, act="").last
            net.back_to(inner, inner_shape).add(source).act("Relu")
    return net.global_pool().dense(classes, "")


def regnety_400m(side: int = 224, classes: int = 1000) -> Net:
    """Return RegNetY with 400 million multiply-accumulates."""
    net = Net((1, 3, side, side)).conv(32, stride=2)
    for width, depth in _REGNETY_400M:
        for index in range(depth):
            stride, source, shape = 1 if index else 2, net.last, net.shape
            net.conv(width, 1).conv(width, 3, stride, groups=width // 8)
            net.squeeze_excite(round(shape[1] / 4)).conv(width, 1, act="")
            inner, inner_shape = net.last, net.shape
            if not index:
                source = net.back_to(source, shape).conv(width, 1, stride, act="").last
            net.back_to(inner, inner_shape).add(source).act("Relu")
    return net.global_pool().dense(classes, "")
