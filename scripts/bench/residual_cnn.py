"""A residual network with batch norm on Fashion-MNIST: its definition, its data, its first training.

The functions without arguments are what edgeloop is given by import path. Data and weights lie in the directory that
EDGELOOP_BENCH_RESIDUAL names: the four ``*-ubyte.gz`` files (Debian package dataset-fashion-mnist) and ``width*.pt``,
which `python scripts/bench/residual_cnn.py WIDTH EPOCHS MINUTES` makes (width 16, 3 epochs; 8 for the thinner one).
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

HELD_BACK = 5000
"""Last items of the training part: stages are validated on them, never trained."""

BATCH = 128


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


def directory() -> Path:
    return Path(os.environ["EDGELOOP_BENCH_RESIDUAL"])


def part(name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return images [n, 1, 28, 28] in 0..1 and labels [n]."""
    with gzip.open(directory() / f"{name}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(directory() / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images.astype(np.float32) / 255, labels.astype(np.int64)


class Batches:
    """Shuffled batches, shifted by up to two pixels and mirrored; every turn differs and is the same again by seed."""

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self.images, self.labels, self.turn = images, labels, 0

    def __len__(self) -> int:
        return len(self.images) // BATCH

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rng = np.random.default_rng(self.turn)
        self.turn += 1
        order = rng.permutation(len(self.images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            batch = np.pad(self.images[chosen], ((0, 0), (0, 0), (2, 2), (2, 2)))
            top, left = rng.integers(0, 5, 2)
            batch = batch[:, :, top : top + 28, left : left + 28]
            mirrored = rng.random(BATCH) < 0.5
            batch[mirrored] = batch[mirrored][..., ::-1]
            yield torch.from_numpy(np.ascontiguousarray(batch)), torch.from_numpy(self.labels[chosen])


def train() -> Batches:
    images, labels = part("train")
    return Batches(images[:-HELD_BACK], labels[:-HELD_BACK])


def validation() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    images, labels = part("train")
    return images[-HELD_BACK:], labels[-HELD_BACK:]


def data() -> dict[str, np.ndarray[Any, Any]]:
    """The untouched test part: calibration items are set aside by edgeloop itself."""
    images, labels = part("t10k")
    return {"x": images, "labels": labels}


def loaded(width: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    net = ResNet20(width)
    net.load_state_dict(torch.load(directory() / f"width{width}.pt", weights_only=True)["net"])
    return net.eval(), (torch.zeros(2, 1, 28, 28),)


def model() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return loaded(16)


def thin() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return loaded(8)


def fit(width: int, epochs: int, minutes: float) -> bool:
    """Go on training for so long; return whether it is finished."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path, batches = directory() / f"width{width}.pt", train()
    net, steps = ResNet20(width), epochs * len(batches)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * i / steps))
    )
    parts, step = {"net": net, "optimizer": optimizer, "schedule": schedule}, 0
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        step = kept["step"]
        for name, one in parts.items():
            one.load_state_dict(kept[name])
    end = time.monotonic() + 60 * minutes
    net.train()
    while step < steps and time.monotonic() < end:
        batches.turn = step  # after an interruption a new order of the items
        for images, labels in batches:
            optimizer.zero_grad()
            functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % len(batches) == 0 or time.monotonic() > end:
                break
    torch.save({name: one.state_dict() for name, one in parts.items()} | {"step": step}, path)
    net.eval()
    images, labels = validation()
    with torch.no_grad():
        right = (net(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()
    print(f"width {width}: step {step} of {steps}, {right:.4f} of the held-back items right", flush=True)
    return step >= steps


if __name__ == "__main__":
    # WIDTH EPOCHS MINUTES; exit 3 when it is not finished yet: call it again.
    sys.exit(0 if fit(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])) else 3)
