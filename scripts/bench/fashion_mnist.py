"""Fashion-MNIST for networks that the bench trains: its items, and a first training in slices.

The functions without arguments are what edgeloop is given by import path. The items are those of the Debian package
dataset-fashion-mnist; weights lie in the directory that EDGELOOP_BENCH_TRAINED names.
"""

from __future__ import annotations

import gzip
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_packages import CACHE, debian_package
from torch import nn
from torch.nn import functional

HELD_BACK = 5000
"""Last items of the training part: stages are validated on them, never trained."""

BATCH = 128

PARTS = 4
"""Turns that an epoch over all items is cut into: each ends in a checkpoint, so that little is lost when it stops."""


def directory() -> Path:
    return Path(os.environ.get("EDGELOOP_BENCH_TRAINED", CACHE / "trained"))


def part(name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return images [n, 1, 28, 28] in 0..1 and labels [n]."""
    place = debian_package("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    with gzip.open(place / f"{name}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(place / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images.astype(np.float32) / 255, labels.astype(np.int64)


class Batches:
    """Shuffled batches, shifted by up to two pixels and mirrored; every turn differs and is the same again by seed.

    A turn gives one of PARTS parts of the items; so many turns give all of them once.
    """

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self.images, self.labels, self.turn = images, labels, 0

    def __len__(self) -> int:
        return len(self.images) // PARTS // BATCH

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = np.random.default_rng([0, self.turn // PARTS]).permutation(len(self.images))
        order = order[self.turn % PARTS :: PARTS]
        rng = np.random.default_rng([1, self.turn])
        self.turn += 1
        for start in range(0, len(self) * BATCH, BATCH):
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


def loaded(net: nn.Module, name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return a network with its trained weights, and example inputs."""
    path = directory() / f"{name}.pt"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: train the network first, see the head of its file.")
    net.load_state_dict(torch.load(path, weights_only=True)["net"])
    # Channels last: a third faster on one core.
    return net.eval().to(memory_format=torch.channels_last), (torch.zeros(2, 1, 28, 28),)


def fit(net: nn.Module, name: str, epochs: int, minutes: float) -> bool:
    """Go on training for so long; return whether it is finished."""
    torch.set_num_threads(1)
    directory().mkdir(parents=True, exist_ok=True)
    path, batches = directory() / f"{name}.pt", train()
    net, steps = net.to(memory_format=torch.channels_last), epochs * PARTS * len(batches)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * i / steps))
    )
    parts, step = {"net": net, "optimizer": optimizer, "schedule": schedule}, 0
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        step = kept["step"]
        for key, one in parts.items():
            one.load_state_dict(kept[key])
    end = time.monotonic() + 60 * minutes
    net.train()
    while step < steps and time.monotonic() < end:
        batches.turn = step // len(batches)
        for images, labels in batches:
            optimizer.zero_grad()
            functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % len(batches) == 0 or time.monotonic() > end:
                break
    torch.save({key: one.state_dict() for key, one in parts.items()} | {"step": step}, path)
    net.eval()
    images, labels = validation()
    with torch.no_grad():
        right = (net(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()
    print(f"{name}: step {step} of {steps}, {right:.4f} of the held-back items right", flush=True)
    return step >= steps
