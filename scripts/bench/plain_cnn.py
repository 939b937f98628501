"""A plain network of three convolutions on Fashion-MNIST: its definition and its first training.

`python scripts/bench/plain_cnn.py WIDTH EPOCHS MINUTES` trains it (width 32, 6 epochs; 16 for the thinner one).
"""

from __future__ import annotations

import sys

import torch
from fashion_mnist import fit, loaded
from torch import nn


class PlainCnn(nn.Module):
    """[n, 1, 28, 28] in 0..1 to [n, 10]; three convolutions, ``width``, twice and four times as wide."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for place in range(3):
            outputs = width * 2**place
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            if place < 2:
                layers.append(nn.MaxPool2d(2))
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x).mean((2, 3)))


def model() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return loaded(PlainCnn(32), "plain32")


def thin() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return loaded(PlainCnn(16), "plain16")


if __name__ == "__main__":
    # WIDTH EPOCHS MINUTES; exit 3 when it is not finished yet: call it again.
    torch.manual_seed(0)
    width = int(sys.argv[1])
    sys.exit(0 if fit(PlainCnn(width), f"plain{width}", int(sys.argv[2]), float(sys.argv[3])) else 3)
