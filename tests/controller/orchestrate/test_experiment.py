"""What is refused before anything is measured, and how much is measured for what was asked."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import ExperimentRequest, SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.orchestrate.experiment import plan_experiment, run_experiment
from edgeloop_foundation.errors import InvalidInputError
from onnx import TensorProto, helper


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


@pytest.mark.parametrize(
    ("require", "rounds", "samples"),
    [((), 5, 64), (("first_inference < 1s",), 6, 64), (("load_time < 1s", "latency_p99 < 1s"), 7, 662)],
)
async def test_what_is_bounded_is_measured_often_enough_to_be_decided(
    tmp_path: Path, require: tuple[str, ...], rounds: int, samples: int
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    request = ExperimentRequest(model=str(path), devices=(DeviceSpec.parse("sim:nuc11"),), require=require)
    with App.open(tmp_path / "home") as app:
        plan = await plan_experiment(app, request, SilentListener())
    assert (plan.benchmark.rounds, plan.benchmark.sample_count_min) == (rounds, samples)
