"""Published architectures by the names that published latencies use, with seeded weights.

Latency depends on the layers, not on what they were trained to: these stand for the networks of benchmark tables.

Law: builds networks, exactly as they were published, and nothing else; never measures, never reads a model file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgeloop.calibrate.nets import Net
from edgeloop.calibrate.zoo import detect, mobile, plain, shuffle

__all__ = ["KNOWN", "ZooModel", "find"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooModel:
    """One architecture at one size."""

    #: Name for people and files.
    name: str
    #: Family of architectures, for what is left out together.
    family: str
    #: Builds the network.
    build: Callable[[], Net]


_Builder = Callable[[re.Match[str], int], Net]


def _fixed(build: Callable[[int], Net]) -> _Builder:
    return lambda _, side: build(side)


_PATTERNS: tuple[tuple[str, str, int, _Builder], ...] = (
    (
        r"mobilenet(?:-?v1)?(?:-(\d\.\d+))?(?:-(?P<side>\d{2,3}))?",
        "mobilenet_v1",
        224,
        lambda m, side: mobile.mobilenet_v1(side, float(m[1] or 1.0)),
    ),
    (
        r"mobilenet-?v2(?:-(\d\.\d+))?(?:-(?P<side>\d{2,3}))?",
        "mobilenet_v2",
        224,
        lambda m, side: mobile.mobilenet_v2(side, float(m[1] or 1.0)),
    ),
    (
        r"mobilenet-?v3(?:-(large|small))?(?:-(?P<side>\d{2,3}))?",
        "mobilenet_v3",
        224,
        lambda m, side: mobile.mobilenet_v3(side, m[1] or "large"),
    ),
    (r"mnasnet(?:-b1|-1\.0)?(?:-(?P<side>\d{3}))?", "mnasnet", 224, _fixed(mobile.mnasnet)),
    (r"efficientnet-b0", "efficientnet", 224, _fixed(mobile.efficientnet)),
    (
        r"efficientnet-lite-?([0-4])",
        "efficientnet_lite",
        0,
        lambda m, side: mobile.efficientnet_lite(int(m[1]), side),
    ),
    (r"resnet-?(18|34|50)(?:-v1\.5)?", "resnet", 224, lambda m, side: plain.resnet(int(m[1]), side)),
    (r"squeezenet(?:-?v?1\.1)?", "squeezenet", 227, _fixed(plain.squeezenet)),
    (r"shufflenet(?:-?v1)?", "shufflenet", 224, _fixed(shuffle.shufflenet_v1)),
    (r"shufflenet-?v2", "shufflenet", 224, _fixed(shuffle.shufflenet_v2)),
    (r"googlenet", "googlenet", 224, _fixed(plain.googlenet)),
    (r"alexnet", "alexnet", 227, _fixed(plain.alexnet)),
    (r"vgg-?16", "vgg", 224, _fixed(plain.vgg16)),
    (r"regnety-400m", "regnet", 224, _fixed(plain.regnety_400m)),
    (r"mobilenet-ssd", "ssd", 300, _fixed(detect.mobilenet_ssd)),
    (r"yolov4-tiny", "yolo", 416, _fixed(detect.yolov4_tiny)),
    (r"yolov8-?([nsm])", "yolo", 640, lambda m, side: detect.yolov8(side, m[1])),
)

KNOWN = tuple(pattern for pattern, *_ in _PATTERNS)
"""Patterns of the names that are known."""


def find(name: str, side: int = 0) -> ZooModel | None:
    """Return the architecture of a published name at an input side, or None when it is not known.

    Args:
        name: as in a benchmark table; case, "_" and "-" make no difference.
        side: of the input; 0 is the one it was published with.
    """
    plain_name = name.strip().lower().replace("_", "-")
    for pattern, family, own, build in _PATTERNS:
        found = re.fullmatch(pattern, plain_name)
        if found:
            sized = side or int(found.groupdict().get("side") or own)
            return ZooModel(
                name=f"{plain_name}@{sized}" if sized else plain_name,
                family=family,
                build=partial(build, found, sized),
            )
    return None
