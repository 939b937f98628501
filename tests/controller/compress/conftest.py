"""Fixtures of the compression room: the model builders and what tests do with every model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.recipe_runner import RecipeRunner
from edgeloop.compress.sources import SourceModel, load_source
from edgeloop.domain.dataset import Dataset


@pytest.fixture(scope="session")
def zoo() -> ModuleType:
    """The module of model builders."""
    location = importlib.util.spec_from_file_location("compress_zoo", Path(__file__).with_name("models.py"))
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    sys.modules[location.name] = module
    location.loader.exec_module(module)
    return module


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Path], SourceModel]:
    """Loads a file as a source."""
    return lambda path: load_source(str(path), tmp_path / "source")


@pytest.fixture
def runner(tmp_path: Path) -> Callable[..., RecipeRunner]:
    """Makes a recipe runner with its own directory."""

    def make(calibration: Dataset | None = None, **more: object) -> RecipeRunner:
        context = PassContext(work_directory=tmp_path, calibration=calibration)
        return RecipeRunner(directory=tmp_path / "stages", context=context, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture
def image_data(zoo: ModuleType) -> Dataset:
    """Calibration images for the CNN."""
    return Dataset(name="images", inputs={"x": zoo.images(24)})


@pytest.fixture
def magika_path() -> Path:
    """The file of a real model that a Python package brings along."""
    location = importlib.util.find_spec("magika")
    if location is None or not location.submodule_search_locations:
        pytest.skip("the package magika is not installed")
    found = sorted(Path(location.submodule_search_locations[0]).glob("models/*/model.onnx"))
    if not found:
        pytest.skip("the package magika brings no ONNX model along")
    return found[-1]


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded numbers."""
    return np.random.default_rng(0)
