"""A small residual network and a task that it learns in a second; given to edgeloop by import path."""

import os

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    """[n, 1, 8, 8] to [n, 4]: where the bright quarter is."""

    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.third = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.head = nn.Linear(2 * width, 4)

    def forward(self, x):
        x = self.first(x)
        x = functional.relu(self.norm(self.second(x)) + x)
        return self.head(functional.adaptive_max_pool2d(self.third(x), 1).flatten(1))


def data(count=600, seed=0):
    """Noise with a brighter blob whose kind (horizontal, vertical, dot, cross) is the label."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.35, (count, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 4, count)
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(1, 7, 2)
        if label in (0, 3):
            image[0, y, x - 1 : x + 2] += 2
        if label in (1, 3):
            image[0, y - 1 : y + 2, x] += 2
        if label == 2:
            image[0, y, x] += 3
    return images, labels


def validation():
    return data(300, seed=1)


def wrong_labels():
    images, labels = data()
    return images, labels + 3


def wrong_shape():
    return np.zeros((20, 3, 8, 8), np.float32), np.zeros(20, np.int64)


class Once:
    def __iter__(self):
        return iter(())


def empty():
    return Once()


def no_data():
    return 7


def own_loss(outputs, labels):
    return functional.multi_margin_loss(outputs, labels)


def diverging(outputs, labels):
    return outputs.sum() * float("nan")


def fit(net, epochs=6):
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(a) for a in data())
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net.train()
    for _ in range(epochs):
        for place in range(0, 600, 60):
            optimizer.zero_grad()
            functional.cross_entropy(net(images[place : place + 60]), labels[place : place + 60]).backward()
            optimizer.step()
    return net.eval()


def model():
    net = Net()
    net.load_state_dict(torch.load(os.environ["TRAINING_NET_WEIGHTS"], weights_only=True))
    return net, torch.zeros(2, 1, 8, 8)


def channels_last():
    net, example = model()
    return net.to(memory_format=torch.channels_last), example


class Rigid(Net):
    """Counts on its channels in forward."""

    def forward(self, x):
        x = self.first(x) * torch.ones(1, 16, 1, 1)
        x = functional.relu(self.norm(self.second(x)) + x)
        return self.head(functional.adaptive_max_pool2d(self.third(x), 1).flatten(1))


def rigid():
    net = Rigid()
    net.load_state_dict(torch.load(os.environ["TRAINING_NET_WEIGHTS"], weights_only=True))
    return net, torch.zeros(2, 1, 8, 8)


class Branching(Net):
    """Looks at its data to decide."""

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


def branching():
    net = Branching()
    net.load_state_dict(torch.load(os.environ["TRAINING_NET_WEIGHTS"], weights_only=True))
    return net, torch.zeros(2, 1, 8, 8)


class Unwritten(Net):
    """Calls an operator that ONNX has no form of."""

    def forward(self, x):
        return super().forward(x) + torch.linalg.eigvals(x[:, 0, :4, :4]).real.sum() * 0


def unwritten():
    net = Unwritten()
    net.load_state_dict(torch.load(os.environ["TRAINING_NET_WEIGHTS"], weights_only=True))
    return net, torch.zeros(2, 1, 8, 8)


def student():
    torch.manual_seed(1)
    return Net(8), torch.zeros(2, 1, 8, 8)


def shifted_student():
    net, example = model()
    with torch.no_grad():
        net.head.bias += 5.0
    return net, example


def unlabelled_data():
    images, _ = data()
    return images, np.zeros((len(images), 4), np.float32)


def unlabelled_validation():
    images, _ = validation()
    with torch.no_grad():
        return images, model()[0](torch.from_numpy(images)).numpy()


class Normed(nn.Module):
    """[n, 1, 8, 8] to unit vectors [n, 4], through some layers; it divides as often."""

    def __init__(self, depth):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(depth)])
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = functional.relu(layer(x))
            x = x / (1 + x.norm(dim=1, keepdim=True))
        x = self.head(x)
        return x / x.norm(dim=1, keepdim=True)


def deep():
    torch.manual_seed(2)
    return Normed(3), torch.zeros(2, 1, 8, 8)


def flat():
    torch.manual_seed(3)
    return Normed(1), torch.zeros(2, 1, 8, 8)


def deeper():
    torch.manual_seed(4)
    return Normed(5), torch.zeros(2, 1, 8, 8)


class Difference(nn.Module):
    def forward(self, x, y):
        return x - 2 * y


def one_tensor_twice():
    example = torch.ones(2, 3)
    return Difference(), (example, example)


class OtherwiseWhenExported(nn.Module):
    """Asks whether it is being traced, as code for several back ends does, and then takes what it once saw."""

    def __init__(self, factor, seen):
        super().__init__()
        self.factor, self.seen = factor, seen

    def forward(self, x):
        return 0 * x + self.factor * self.seen if torch.compiler.is_compiling() else 3 * x


def other_factor_when_exported():
    example = torch.ones(2, 3)
    return OtherwiseWhenExported(2, example), example


def constant_when_exported():
    example = torch.ones(2, 3)
    return OtherwiseWhenExported(3, example), example


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def noisy():
    return Noisy(), torch.ones(2, 3)
