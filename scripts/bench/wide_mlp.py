"""Four linear layers (784-2048-2048-512-10) on Fashion-MNIST, trained for two epochs: some two minutes."""

from __future__ import annotations

import gzip
import itertools
from typing import Any

import numpy as np
from bench_packages import CACHE, debian_package
from numpy.typing import NDArray

SIZES = (784, 2048, 2048, 512, 10)
EPOCHS, BATCH = 2, 128


def part(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images [n, 784] in 0..1 and labels [n]."""
    place = debian_package("dataset-fashion-mnist") / "usr/share/datasets/fashion-mnist"
    with gzip.open(place / f"{name}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, SIZES[0])
    with gzip.open(place / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images.astype(np.float32) / 255, labels.astype(np.int64)


def network() -> Any:
    from torch import nn

    layers: list[Any] = []
    for given, made in itertools.pairwise(SIZES):
        layers += [nn.Linear(given, made), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def model() -> str:
    """Return the trained network as ONNX; trains it the first time."""
    made = CACHE / "wide-mlp.onnx"
    if not made.exists():
        import torch

        net = fit()
        partial = made.with_suffix(".partial")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(2, SIZES[0]),),
            str(partial),
            input_names=["x"],
            output_names=["scores"],
            dynamic_axes={"x": {0: "n"}, "scores": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
        partial.rename(made)
    return str(made)


def fit() -> Any:
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, rng = network(), np.random.default_rng(0)
    images, labels = part("train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 / (1 + 4 * epoch)
        for rows in np.array_split(rng.permutation(len(images)), len(images) // BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(
                net(torch.from_numpy(images[rows])), torch.from_numpy(labels[rows])
            )
            loss.backward()
            optimizer.step()
        print(f"wide_mlp: epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f}", flush=True)
    return net


def data() -> dict[str, NDArray[np.generic]]:
    """Return the untouched test part."""
    images, labels = part("t10k")
    return {"x": images, "labels": labels}
