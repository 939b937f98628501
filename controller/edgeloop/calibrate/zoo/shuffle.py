"""ShuffleNet V1 and V2: grouped convolutions and channels that change places."""

from __future__ import annotations

from edgeloop.calibrate.nets import Net

__all__ = ["shufflenet_v1", "shufflenet_v2"]

_REPEATS = (4, 8, 4)


def shufflenet_v1(side: int = 224, groups: int = 3, classes: int = 1000) -> Net:
    """Return ShuffleNet 1x with three groups (Zhang et al. 2018, table 1)."""
    net = Net((1, 3, side, side)).conv(24, stride=2).pool(size=3, stride=2, same=True)
    for out, repeats in zip((240, 480, 960), _REPEATS, strict=True):
        for index in range(repeats):
            source, shape = net.last, net.shape
            first = groups if shape[1] > 24 else 1
            net.conv(out // 4, 1, groups=first).shuffle(groups)
            if index:
                net.depthwise(act="").conv(out, 1, groups=groups, act="").add(source).act("Relu")
                continue
            rest = out - shape[1]
            net.depthwise(3, 2, "").conv(rest, 1, groups=groups, act="")
            branch = net.last
            net.back_to(source, shape).pool("AveragePool", 3, 2, same=True).join(branch, rest).act("Relu")
    return net.global_pool().dense(classes, "")


def shufflenet_v2(side: int = 224, classes: int = 1000) -> Net:
    """Return ShuffleNetV2 1x (Ma et al. 2018, table 5)."""
    net = Net((1, 3, side, side)).conv(24, stride=2).pool(size=3, stride=2, same=True)
    for out, repeats in zip((116, 232, 464), _REPEATS, strict=True):
        half = out // 2
        for index in range(repeats):
            if index:
                kept, _ = net.split()
                net.conv(half, 1).depthwise(act="").conv(half, 1)
            else:
                source, shape = net.last, net.shape
                kept = net.depthwise(3, 2, "").conv(half, 1).last
                net.back_to(source, shape).conv(half, 1).depthwise(3, 2, "").conv(half, 1)
            net.join(kept, half).shuffle(2)
    return net.conv(1024, 1).global_pool().dense(classes, "")
