"""A residual network with batch norm on Fashion-MNIST: its definition and its first training.

`python scripts/bench/residual_cnn.py WIDTH EPOCHS MINUTES` trains it (width 16, 3 epochs; 8 for the thinner one).
"""

from __future__ import annotations

import sys

import torch
from fashion_mnist import fit, loaded
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions beside a shortcut; ``x`` is [n, inputs, h, w]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut: nn.Module = nn.Identity()
        if changes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class ResNet20(nn.Module):
    """[n, 1, 28, 28] in 0..1 to [n, 10]; three stages of three blocks, ``width``, twice and four times as wide."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks, inputs = [], width
        for stage in range(3):
            for place in range(3):
                blocks.append(Block(inputs, width * 2**stage, 2 if stage and not place else 1))
                inputs = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def model() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return loaded(ResNet20(16), "width16")


def thin() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return loaded(ResNet20(8), "width8")


if __name__ == "__main__":
    # WIDTH EPOCHS MINUTES; exit 3 when it is not finished yet: call it again.
    torch.manual_seed(0)
    width = int(sys.argv[1])
    sys.exit(0 if fit(ResNet20(width), f"width{width}", int(sys.argv[2]), float(sys.argv[3])) else 3)
