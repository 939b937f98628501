"""Opens the little classifier with a driver, as the runner does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.runner.runtimes import RUNTIMES
from edgeloop_protocol.types.trial import RuntimeSettings

#: Drivers that the test extra brings along, with the format that they are tested with.
INSTALLED = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite"}


@pytest.fixture(params=INSTALLED)
def driver(request: Any) -> str:
    """The name of every installed driver in turn."""
    return str(request.param)


@pytest.fixture
def open_model(workshop: Any) -> Callable[..., Any]:
    """Open the classifier with a driver; ``content`` replaces the model file, the rest are settings."""

    def opened(
        name: str, profile: Path | None = None, content: bytes | None = None, width: int = 16, **fields: Any
    ) -> Any:
        artifact = workshop.mlp(format=INSTALLED[name], width=width)
        directory = workshop.directory(artifact)
        if content is not None:
            (directory / artifact.model_file).write_bytes(content)
        settings = RuntimeSettings(runtime=name, **fields)
        return RUNTIMES.load(name)().load(directory, artifact, settings, profile)

    return opened


@pytest.fixture
def onnxruntime_says(open_model: Any) -> Callable[..., Any]:
    """Return what ONNX Runtime computes for the classifier, the yardstick of the others."""

    @functools.cache
    def execute(width: int) -> Any:
        return open_model("onnxruntime", width=width).executor()

    return lambda x: execute(x.shape[1])({"x": x})[0]
