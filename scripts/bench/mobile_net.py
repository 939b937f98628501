"""MobileNetV2 as published (Sandler et al., CVPR 2018) with seeded random weights: it has times and no quality."""

from __future__ import annotations

from typing import Any

import numpy as np
from edgeloop.calibrate.zoo.mobile import MOBILENET_V2_STAGES
from numpy.typing import NDArray


def model() -> tuple[Any, tuple[Any, ...]]:
    """Return the network, [n, 3, 224, 224] to [n, 1000], and an example."""
    import torch
    from torch import nn

    def unit(given: int, made: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[Any]:
        conv = nn.Conv2d(given, made, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(made), nn.ReLU6()]

    class Block(nn.Module):
        def __init__(self, given: int, made: int, expansion: int, stride: int) -> None:
            super().__init__()
            inner = given * expansion
            wider = unit(given, inner) if expansion > 1 else []
            self.body = nn.Sequential(*wider, *unit(inner, inner, 3, stride, inner), *unit(inner, made)[:2])
            self.joins = stride == 1 and given == made

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.joins else self.body(x)

    torch.manual_seed(0)
    layers, width = unit(3, 32, 3, 2), 32
    for expansion, channels, blocks, stride in MOBILENET_V2_STAGES:
        for place in range(blocks):
            layers.append(Block(width, channels, expansion, 1 if place else stride))
            width = channels
    layers += [*unit(width, 1280), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers).eval(), (torch.zeros(1, 3, 224, 224),)


def data() -> dict[str, NDArray[np.generic]]:
    """Return eight images of noise without labels."""
    return {"input": np.random.default_rng(0).standard_normal((8, 3, 224, 224)).astype(np.float32)}
