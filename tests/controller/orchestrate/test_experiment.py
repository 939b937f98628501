"""What is refused before anything is measured, and how much is measured for what was asked."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import ExperimentRequest, SilentListener
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.orchestrate import facts_so_far
from edgeloop.orchestrate.experiment import plan_experiment, run_experiment
from edgeloop.orchestrate.fleet import open_one
from edgeloop.store.known_facts import KnownFactsStore
from edgeloop_foundation.errors import InvalidInputError
from onnx import TensorProto, helper


def small_model(directory: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    path = directory / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


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
    path = small_model(tmp_path)
    request = ExperimentRequest(model=str(path), devices=(DeviceSpec.parse("sim:nuc11"),), require=require)
    with App.open(tmp_path / "home") as app:
        plan = await plan_experiment(app, request, SilentListener())
    assert (plan.benchmark.rounds, plan.benchmark.sample_count_min) == (rounds, samples)


class _EnoughError(Exception):
    pass


class _UntilMeasured(SilentListener):
    """Ends the run when the first device works on a job."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        if what.startswith("pi: ") and not what.startswith("pi: send"):
            raise _EnoughError


async def test_a_device_is_measured_while_another_one_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts_so_far, "_OTHERS_S", 0.1)
    hung, unknown = (DeviceSpec.parse(f"{name}=unix:{tmp_path}/{name}") for name in ("hung", "unknown"))
    pi = DeviceSpec.parse("pi=sim:raspberry_pi_4")
    request = ExperimentRequest(model=str(small_model(tmp_path)), devices=(hung, unknown, pi))
    listener = _UntilMeasured()
    with contextlib.ExitStack() as stack:
        for spec in (hung, unknown):
            # The system takes connections into its queue, and nobody ever accepts one.
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.bind(spec.address.removeprefix("unix:"))
            silent.listen()
        app = stack.enter_context(App.open(tmp_path / "home"))
        async with open_one(app, pi) as device:
            KnownFactsStore(app.state_directory).keep(hung, device.facts, 0.0)
        with pytest.raises(_EnoughError):
            await run_experiment(app, request, listener)
    # With a barrier they would have been given up first, with a note of another kind.
    about = [note for note in listener.notes if note.startswith(("hung", "unknown"))]
    assert [note.partition(",")[2] for note in about] == [
        " and candidates are chosen by what it told last.",
        " and candidates are chosen without it.",
    ]
