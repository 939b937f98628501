"""Detectors up to their raw outputs: MobileNet-SSD, YOLOv4-tiny, YOLOv8."""

from __future__ import annotations

from edgeloop.calibrate.nets import Net

__all__ = ["mobilenet_ssd", "yolov4_tiny", "yolov8"]

_SSD_BODY = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)
_SSD_EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))
_YOLOV8 = {"n": (0.33, 0.25, 1024), "s": (0.33, 0.5, 1024), "m": (0.67, 0.75, 768)}
"""Depth, width and widest layer."""


def mobilenet_ssd(side: int = 300, classes: int = 21) -> Net:
    """Return MobileNetV1 with the single-shot heads of the Caffe version."""
    net = Net((1, 3, side, side)).conv(32, stride=2)
    for out, stride in _SSD_BODY:
        net.depthwise(3, stride).conv(out, 1)
    taken = [(net.last, net.shape)]
    net.depthwise(3, 2).conv(1024, 1).depthwise().conv(1024, 1)
    taken.append((net.last, net.shape))
    for narrow, wide in _SSD_EXTRA:
        net.conv(narrow, 1).conv(wide, 3, 2)
        taken.append((net.last, net.shape))
    parts = []
    for index, (name, shape) in enumerate(taken):
        boxes = 3 if index == 0 else 6
        net.back_to(name, shape).conv(boxes * (4 + classes), 1, act="")
        width = net.shape[1] * net.shape[2] * net.shape[3]
        parts.append((net.node("Flatten", [net.last], (1, width)).last, width))
    return net.back_to(*((parts[-1][0]), (1, parts[-1][1]))).join_all(parts[:-1])


def _csp(net: Net, width: int) -> tuple[str, tuple[int, ...]]:
    """Add a cross-stage block of YOLOv4-tiny; return the tensor in front of its last join."""
    whole = net.conv(width, act="LeakyRelu").last
    net.split()
    outer = net.conv(width // 2, act="LeakyRelu").last
    net.conv(width // 2, act="LeakyRelu").join(outer, width // 2)
    inner, shape = net.conv(width, 1, act="LeakyRelu").last, net.shape
    net.join(whole, width).pool()
    return inner, shape


def yolov4_tiny(side: int = 416, classes: int = 80) -> Net:
    """Return YOLOv4-tiny with both heads, flattened."""
    net = Net((1, 3, side, side)).conv(32, 3, 2, act="LeakyRelu").conv(64, 3, 2, act="LeakyRelu")
    _csp(net, 64)
    _csp(net, 128)
    fine, fine_shape = _csp(net, 256)
    net.conv(512, act="LeakyRelu")
    neck, shape = net.conv(256, 1, act="LeakyRelu").last, net.shape
    outputs = 3 * (5 + classes)
    net.conv(512, act="LeakyRelu").conv(outputs, 1, act="")
    coarse = outputs * net.shape[2] * net.shape[3]
    head = net.node("Flatten", [net.last], (1, coarse)).last
    net.back_to(neck, shape).conv(128, 1, act="LeakyRelu").enlarge().join(fine, fine_shape[1])
    net.conv(256, act="LeakyRelu").conv(outputs, 1, act="")
    net.node("Flatten", [net.last], (1, outputs * net.shape[2] * net.shape[3]))
    return net.join(head, coarse)


def _c2f(net: Net, out: int, repeats: int, *, residual: bool) -> None:
    half = out // 2
    net.conv(2 * half, 1, act="Silu")
    first, second = net.split()
    parts = [(first, half), (second, half)]
    for _ in range(repeats):
        before = net.last
        net.conv(half, act="Silu").conv(half, act="Silu")
        if residual:
            net.add(before)
        parts.append((net.last, half))
    net.join_all(parts[:-1]).conv(out, 1, act="Silu")


def yolov8(side: int = 640, size: str = "n", classes: int = 80) -> Net:
    """Return YOLOv8 with its three heads, flattened, without the decoding of boxes."""
    depth, width, widest = _YOLOV8[size]
    channels = [int(min(base, widest) * width) for base in (64, 128, 256, 512, 1024)]
    repeats = [max(1, round(count * depth)) for count in (3, 6, 6, 3)]
    net = Net((1, 3, side, side)).conv(channels[0], 3, 2, act="Silu")
    taken = []
    for out, count in zip(channels[1:], repeats, strict=True):
        _c2f(net.conv(out, 3, 2, act="Silu"), out, count, residual=True)
        taken.append((net.last, net.shape))
    _pyramid_pool(net)
    taken[-1] = (net.last, net.shape)
    for name, shape in (taken[2], taken[1]):
        _c2f(net.enlarge().join(name, shape[1]), shape[1], repeats[0], residual=False)
        taken.append((net.last, net.shape))
    outputs = [taken[-1]]
    for name, shape in (taken[-2], taken[3]):
        _c2f(
            net.conv(net.shape[1], 3, 2, act="Silu").join(name, shape[1]),
            shape[1],
            repeats[0],
            residual=False,
        )
        outputs.append((net.last, net.shape))
    return _heads(net, outputs, classes)


def _pyramid_pool(net: Net) -> None:
    out = net.shape[1]
    net.conv(out // 2, 1, act="Silu")
    parts = [(net.last, out // 2)]
    parts += [(net.pool(size=5, stride=1, same=True).last, out // 2) for _ in range(3)]
    net.join_all(parts[:-1]).conv(out, 1, act="Silu")


def _heads(net: Net, outputs: list[tuple[str, tuple[int, ...]]], classes: int) -> Net:
    first = outputs[0][1][1]
    box, kind = max(16, first // 4, 64), max(first, min(classes, 100))
    parts = []
    for name, shape in outputs:
        for width, out in ((box, 64), (kind, classes)):
            net.back_to(name, shape).conv(width, act="Silu").conv(width, act="Silu").conv(out, 1, act="")
            flat = out * shape[2] * shape[3]
            parts.append((net.node("Flatten", [net.last], (1, flat)).last, flat))
    return net.join_all(parts[:-1])
