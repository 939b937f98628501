"""A small model that really classifies, its data, and the command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

FEATURES, HIDDEN, CLASSES, ITEMS = 16, 64, 4, 600


@dataclass(frozen=True)
class Tiny:
    directory: Path
    model: Path
    data: Path


def two_layer_model(first: np.ndarray, second: np.ndarray, opset: int = 17) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(first, "w1"), numpy_helper.from_array(second, "w2")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Four overlapping clouds of points and a random-feature classifier fitted to them."""
    directory = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(7)
    labels = np.arange(ITEMS) % CLASSES
    points = (
        rng.standard_normal((CLASSES, FEATURES))[labels] + rng.standard_normal((ITEMS, FEATURES))
    ).astype(np.float32)
    first = (rng.standard_normal((FEATURES, HIDDEN)) / 4).astype(np.float32)
    hidden = np.maximum(points @ first, 0)
    second = np.linalg.lstsq(hidden, np.eye(CLASSES)[labels] * 8, rcond=None)[0].astype(np.float32)
    onnx.save(two_layer_model(first, second), directory / "model.onnx")
    np.savez(directory / "data.npz", x=points, labels=labels)
    return Tiny(directory, directory / "model.onnx", directory / "data.npz")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line with a state directory of its own."""
    home = tmp_path / "home"

    def run(*arguments: object, timeout_s: float = 100.0, cwd: Path | None = None) -> Outcome:
        finished = subprocess.run(
            [sys.executable, "-m", "edgeloop", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=cwd or tmp_path,
            env={**os.environ, "EDGELOOP_HOME": str(home), "COLUMNS": "200"},
        )
        return Outcome(finished.returncode, finished.stdout, finished.stderr)

    return run
