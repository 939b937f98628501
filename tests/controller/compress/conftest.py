"""Fixtures of the compression room: the model builders and what tests do with every model."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgeloop.compress.passes import REGISTRY, make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.recipe_runner import RecipeRunner
from edgeloop.compress.sources import SourceModel, load_source
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec


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


@pytest.fixture(scope="session")
def trained_net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A small network, really trained; makes import paths of its functions."""
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    place = Path(__file__).with_name("training_net.py")
    location = importlib.util.spec_from_file_location("training_net", place)
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    weights = tmp_path_factory.mktemp("trained") / "weights.pt"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for each other on a busy machine
    torch.manual_seed(0)  # what ran before must not decide what it begins with
    torch.save(module.fit(module.Net()).state_dict(), weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAINING_NET_WEIGHTS", str(weights))
        yield lambda function: f"{place}:{function}"
    torch.set_num_threads(threads)


@pytest.fixture
def module_context(trained_net: Callable[[str], str], tmp_path: Path) -> PassContext:
    """What a pass on the trained network is given."""
    from edgeloop.compress.training.module import build_trainable, save_trainable

    save_trainable(build_trainable(trained_net("model")), tmp_path / "module.pt")
    path = tmp_path / "module.pt"
    return PassContext(work_directory=tmp_path, module=path, original_module=path)


@pytest.fixture
def transform(module_context: PassContext, trained_net: Callable[[str], str]) -> Callable[..., Any]:
    """Runs the torch half of a pass; returns the changed form and the notes."""
    from edgeloop.compress.training.module import load_trainable

    def run(name: str, given: Any = None, **settings: object) -> tuple[Any, list[str]]:
        notes: list[str] = []
        data = {"train": trained_net("data"), "validate": trained_net("validation"), "threads": 1}
        known = {field.name for field in dataclasses.fields(REGISTRY.load(name).settings_type)}
        settings = {key: value for key, value in data.items() if key in known} | settings
        step: Any = make_pass(PassSpec.of(name, **settings))
        assert module_context.module is not None
        given = given or load_trainable(module_context.module)
        return step._transform(given, module_context, notes.append), notes

    return run


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
