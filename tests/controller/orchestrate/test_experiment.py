"""What is refused before anything is measured, and how much is measured for what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import ExperimentRequest, SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.orchestrate.experiment import plan_experiment, run_experiment
from edgeloop_foundation.errors import InvalidInputError


@pytest.mark.parametrize(
    ("labels", "says"), [(("original",), "unmodified model's"), (("a", "a"), "'a' is used twice")]
)
async def test_a_label_stands_for_one_recipe(tmp_path: Path, labels: tuple[str, ...], says: str) -> None:
    recipes = tuple(Recipe(label=label, passes=(PassSpec.of("quantize_dynamic"),)) for label in labels)
    request = ExperimentRequest(model="m.onnx", devices=(DeviceSpec.parse("sim:nuc11"),), recipes=recipes)
    with App.open(tmp_path) as app:
        with pytest.raises(InvalidInputError, match=says):
            await run_experiment(app, request, SilentListener())
        with pytest.raises(InvalidInputError, match=says):
            await plan_experiment(app, request, SilentListener())
