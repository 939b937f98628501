"""Kernel tables of published architectures, built by hand, and small makers for the profile tests."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeloop_profiles import Profile, load_profile
from edgeloop_protocol.types.artifact import Kernel

PUBLISHED = Path(__file__).parent / "data" / "published_latency.csv"


class Table:
    """Collects the kernels of a convolutional network, NCHW, activations and weights of one width."""

    def __init__(self, side: int, channels: int, precision: str) -> None:
        self.side, self.channels, self.precision = side, channels, precision
        self.kernels: list[Kernel] = []
        self.width = 1 if precision == "int8" else 4
        if precision == "int8":
            self.bytewise("quantize", "QuantizeLinear", "fp32", 5)

    def add(self, kernel_class: str, op: str, **values: int) -> None:
        int8 = self.precision == "int8"
        self.kernels.append(
            Kernel(
                name=f"{op}_{len(self.kernels)}",
                kernel_class=kernel_class,
                op_type=op,
                precision=self.precision,
                encoding="U8S8" if int8 else "",
                **values,
            )
        )

    def bytewise(self, kernel_class: str, op: str, precision: str, width: int) -> None:
        size = self.side**2 * self.channels
        self.kernels.append(
            Kernel(
                name=f"{op}_{len(self.kernels)}",
                kernel_class=kernel_class,
                op_type=op,
                precision=precision,
                macs=0,
                input_bytes=size * (width - 1),
                weight_bytes=0,
                output_bytes=size,
            )
        )

    def conv(self, out: int, size: int, stride: int = 1, groups: int = 1, keep: bool = False) -> Table:
        before, side = self.side, -(-self.side // stride)
        taps = size * size * self.channels // groups
        kind = "depthwise" if groups > 1 else "conv1x1" if size == 1 else "conv"
        self.add(
            kind,
            "QLinearConv" if self.precision == "int8" else "FusedConv",
            macs=taps * out * side * side,
            input_bytes=before**2 * self.channels * self.width,
            weight_bytes=taps * out * self.width + 4 * out,
            output_bytes=side**2 * out * self.width,
            input_channels=self.channels,
            output_channels=out,
            output_positions=side * side,
        )
        if not keep:
            self.side, self.channels = side, out
        return self

    def moved(self, kernel_class: str, op: str, inputs: int = 1) -> Table:
        size = self.side**2 * self.channels * self.width
        self.add(kernel_class, op, macs=0, input_bytes=size * inputs, weight_bytes=0, output_bytes=size)
        return self

    def dense(self, out: int) -> Table:
        self.add(
            "gemm",
            "Gemm",
            macs=self.channels * out,
            input_bytes=self.channels * self.width,
            weight_bytes=self.channels * out * self.width,
            output_bytes=out * self.width,
            input_channels=self.channels,
            output_channels=out,
        )
        return self


def mobilenet_v1(alpha: float, side: int, precision: str) -> tuple[Kernel, ...]:
    table = Table(side, 3, precision)
    table.conv(int(32 * alpha), 3, 2)
    for out, stride in [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]:
        table.conv(table.channels, 3, stride, groups=table.channels).conv(int(out * alpha), 1)
    table.moved("pool", "GlobalAveragePool")
    table.side = 1
    return tuple(table.dense(1000).kernels)


def resnet50(side: int, precision: str) -> tuple[Kernel, ...]:
    table = Table(side, 3, precision).conv(64, 7, 2).moved("pool", "MaxPool")
    table.side //= 2
    for width, count, first in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for index in range(count):
            stride = first if index == 0 else 1
            if index == 0:
                table.conv(width * 4, 1, stride, keep=True)
            table.conv(width, 1).conv(width, 3, stride).conv(width * 4, 1)
            table.moved("elementwise", "Add", 2)
    table.moved("pool", "GlobalAveragePool")
    table.side = 1
    return tuple(table.dense(1000).kernels)


def squeezenet(side: int, precision: str) -> tuple[Kernel, ...]:
    table = Table(side, 3, precision).conv(64, 3, 2)
    for squeeze, expand, pool in [
        (16, 64, 1),
        (16, 64, 0),
        (32, 128, 1),
        (32, 128, 0),
        (48, 192, 1),
        (48, 192, 0),
        (64, 256, 0),
        (64, 256, 0),
    ]:
        if pool:
            table.moved("pool", "MaxPool")
            table.side //= 2
        table.conv(squeeze, 1).conv(expand, 1, keep=True).conv(expand, 3)
        table.channels = 2 * expand
        table.moved("layout", "Concat")
    return tuple(table.conv(1000, 1).moved("pool", "GlobalAveragePool").kernels)


def yolov8(width: float, precision: str) -> tuple[Kernel, ...]:
    """YOLOv8 at 640 x 640, depth 1/3; each convolution is followed by a SiLU."""
    table = Table(640, 3, precision)

    def silu(out: int, size: int, stride: int = 1) -> None:
        table.conv(out, size, stride).moved("elementwise", "QuickGelu")

    def c2f(out: int, count: int) -> None:
        silu(out, 1)
        for _ in range(count):
            table.channels = out // 2
            silu(out // 2, 3)
            silu(out // 2, 3)
        table.channels = out // 2 * (2 + count)
        table.moved("layout", "Concat")
        silu(out, 1)

    def at(side: int, channels: int) -> None:
        table.side, table.channels = side, channels

    c = [int(n * width) for n in (64, 128, 256, 512, 1024)]
    silu(c[0], 3, 2)
    for out, count in zip(c[1:], (1, 2, 2, 1), strict=True):
        silu(out, 3, 2)
        c2f(out, count)
    for side, inputs, out in [
        (40, c[4] + c[3], c[3]),
        (80, c[3] + c[2], c[2]),
        (40, c[2] + c[3], c[3]),
        (20, c[3] + c[4], c[4]),
    ]:
        at(side, inputs)
        table.moved("resize", "Resize").moved("layout", "Concat")
        c2f(out, 1)
    for side, channels in [(80, c[2]), (40, c[3]), (20, c[4])]:
        for middle, out in [(max(16, c[2] // 4, 64), 64), (max(c[2], 80), 80)]:
            at(side, channels)
            silu(middle, 3)
            silu(middle, 3)
            table.conv(out, 1)
    return tuple(table.kernels)


def build_kernels(model: str, side: int, precision: str) -> tuple[Kernel, ...]:
    """Return the kernel table of a model as the published rows name it."""
    if model.startswith("mobilenet-v1-"):
        return mobilenet_v1(float(model.split("-")[2]), side, precision)
    if model.startswith("yolov8"):
        return yolov8({"yolov8n": 0.25, "yolov8s": 0.5}[model], precision)
    return {"resnet50": resnet50, "squeezenet-1.1": squeezenet}[model](side, precision)


@pytest.fixture(scope="session")
def architecture() -> Callable[[str, int, str], tuple[Kernel, ...]]:
    return build_kernels


@pytest.fixture(scope="session")
def published() -> list[dict[str, str]]:
    with PUBLISHED.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def pi4() -> Profile:
    return load_profile("raspberry_pi_4")


@pytest.fixture(scope="session")
def pi5() -> Profile:
    return load_profile("raspberry_pi_5")


@pytest.fixture(scope="session")
def nuc() -> Profile:
    return load_profile("nuc11")


@pytest.fixture(scope="session")
def conv() -> Kernel:
    return Kernel(
        name="conv_0",
        kernel_class="conv",
        op_type="Conv",
        precision="fp32",
        macs=20_000_000,
        input_bytes=400_000,
        weight_bytes=150_000,
        output_bytes=400_000,
        input_channels=64,
        output_channels=64,
        output_positions=56 * 56,
    )


@pytest.fixture(scope="session")
def as_int8() -> Callable[[Kernel, str], Kernel]:
    def convert(kernel: Kernel, encoding: str) -> Kernel:
        return dataclasses.replace(
            kernel,
            precision="int8",
            encoding=encoding,
            input_bytes=kernel.input_bytes // 4,
            weight_bytes=kernel.weight_bytes // 4,
            output_bytes=kernel.output_bytes // 4,
        )

    return convert
