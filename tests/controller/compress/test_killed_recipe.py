"""A recipe that was killed in a stage goes on there, and a ruined stage never replaces the last good one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.compress.compare import answers, nonfinite, unrelated
from edgeloop.compress.items import write_items
from edgeloop.compress.passes import make_pass
from edgeloop.compress.recipe_file import given_settings, shipped_recipe
from edgeloop.compress.sources import load_source
from edgeloop.compress.training.data import load_held
from edgeloop.compress.training.judge import Judge, load_loss
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec, Recipe
from onnx import helper, numpy_helper

SCRIPT = Path(__file__).with_name("killed_recipe.py")

#: What the stages of the shipped ladder "ladder_progressive" do, as one recipe.
STEPS = (
    PassSpec.of("fold_batch_norm"),
    PassSpec.of("drop_identities"),
    PassSpec.of("optimize_graph", level="basic"),
    PassSpec.of("int4_at_rest", scales="channel", elements_min=64),
    PassSpec.of("quantize_static", bias_correction=True),
)


@pytest.fixture
def normed(zoo, tmp_path):
    """Conv, batch norm, Identity, Conv, pooling, Gemm."""
    weights = [
        zoo.weight((8, 3, 3, 3), "w1", 1),
        zoo.weight((16, 8, 3, 3), "w2", 2),
        zoo.weight((10, 16), "w3", 3),
        *(
            numpy_helper.from_array(np.linspace(0.5, 1.5, 8, dtype=np.float32), n)
            for n in ("s", "b", "m", "v")
        ),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Identity", ["r1"], ["i1"]),
        helper.make_node("Conv", ["i1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["y"], transB=1),
    ]
    path = tmp_path / "m.onnx"
    inputs, outputs = [zoo.value("x", ["n", 3, 16, 16])], [zoo.value("y", ["n", 10])]
    return zoo.save(path, nodes, inputs, outputs, weights)


def killed_everywhere(directory, model, passes, items, torch=False):
    """Run the script; return its runs, the last one's outcome, and that of a run that nobody killed."""
    given = [{"pass": spec.name, "settings": dict(spec.settings)} for spec in passes]
    (directory / "task.json").write_text(json.dumps({"model": model, "passes": given, "torch": torch}))
    write_items(directory / "items.npz", items)
    done = subprocess.run([sys.executable, SCRIPT, directory], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    names = ("runs", "stages", "unharmed")
    return tuple(json.loads((directory / f"{name}.json").read_text()) for name in names)


def check_kills(runs, last, unharmed, directory, count):
    assert {ended for _, _, ended, _ in runs} == {signal.SIGKILL}
    assert [finished for place, _, _, finished in runs] == [place for place, _, _, _ in runs]
    assert last["states"] == ["resumed"] * (count - 1) + ["applied"]
    assert unharmed["states"] == ["applied"] * count
    assert last["digest"] == unharmed["digest"]
    assert not (directory / "stages/unfinished").exists()


@pytest.mark.timeout(600)  # eleven processes, one after the other
def test_it_goes_on_at_the_stage_in_which_it_was_killed(normed, image_data, tmp_path):
    runs, last, unharmed = killed_everywhere(tmp_path, str(normed), STEPS, image_data)
    assert len(runs) == 2 * len(STEPS)
    check_kills(runs, last, unharmed, tmp_path, len(STEPS))


@pytest.mark.heavy
@pytest.mark.needs_torch
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("label", ["hybrid", "progressive"])
def test_a_shipped_recipe_that_trains_goes_on_where_it_was_killed(trained_net, tmp_path, label):
    pytest.importorskip("torch_pruning", reason="the package torch-pruning is not installed")
    recipe = lenient(trained(label, trained_net))
    held = load_held("", trained_net("validation"), 0)
    source = load_source(trained_net("model"), tmp_path / "first")
    items = Dataset(name="images", inputs={source.description.inputs[0].name: held.inputs[0][:64]})
    runs, last, unharmed = killed_everywhere(tmp_path, trained_net("model"), recipe.passes, items, torch=True)
    assert "learning" in {moment for _, moment, _, _ in runs}
    check_kills(runs, last, unharmed, tmp_path, len(recipe.passes))
    # Killed after its second epoch it was killed again at its end, and so went on twice.
    learnt = [epochs for spec in recipe.passes if (epochs := dict(spec.settings).get("epochs", 0))]
    again = [note for note in last["notes"] if note.startswith("went on after")]
    assert again == [f"went on after epoch {n}, where an interrupted run had stopped" for n in learnt]
    heard = (tmp_path / "heard.txt").read_text().splitlines()
    middle = [note for note in heard if note.startswith("went on after")]
    assert middle == ["went on after epoch 2, where an interrupted run had stopped" for n in learnt if n > 2]


def trained(label, trained_net):
    data = {"train": trained_net("data"), "validate": trained_net("validation"), "threads": 1}
    # On a grid of eight the small network has nothing left to spare for the last pruning of three.
    more = {"learning_rate": 0.05, "batch_size": 64, "keep": 0.5, "block": 4}
    return given_settings(shipped_recipe(label), {**data, **more})


def lenient(recipe):
    """The recipe with a bound that the small network keeps: a stage that is undone has no successor to kill."""
    specs = ((spec.name, dict(spec.settings)) for spec in recipe.passes)
    passes = (PassSpec.of(name, **own | ({"keep": 0.5} if "keep" in own else {})) for name, own in specs)
    return Recipe(label=recipe.label, passes=tuple(passes))


def ruining(place):
    """A factory whose pass at ``place`` does its work and then spoils every number of it."""
    made = []

    def make(spec):
        step = make_pass(spec)
        made.append(step)
        if len(made) - 1 != place:
            return step
        inner = step._run

        def run(source, target, *more):
            inner(source, target, *more)
            model = onnx.load(target)
            for tensor in model.graph.initializer:
                if tensor.data_type == onnx.TensorProto.FLOAT:
                    spoilt = numpy_helper.to_array(tensor) * np.float32("nan")
                    tensor.CopyFrom(numpy_helper.from_array(spoilt, tensor.name))
            target.write_bytes(model.SerializeToString())

        step._run = run
        return step

    return make


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_a_ruined_stage_never_replaces_the_last_good_one(normed, load, runner, image_data, place):
    source = load(normed)
    result = runner(image_data, make=ruining(place)).run(source, Recipe(label="r", passes=STEPS))
    assert result.stages[place].state == "rolled back"
    assert "are not finite" in result.stages[place].reason
    assert [s.state for i, s in enumerate(result.stages) if i != place] == ["applied"] * (len(STEPS) - 1)
    made = answers(result.path, result.description, image_data)
    reference = answers(source.path, source.description, image_data)
    assert not nonfinite(made, reference)
    assert not unrelated(made, reference)


@pytest.mark.needs_torch
@pytest.mark.filterwarnings("ignore")
def test_a_ruined_stage_of_a_recipe_that_trains_leaves_what_was_good(trained_net, runner, tmp_path):
    pytest.importorskip("torch_pruning", reason="the package torch-pruning is not installed")
    recipe = trained("hybrid", trained_net)
    judge = Judge(held=load_held("", trained_net("validation"), 0), loss=load_loss(""))
    source = load_source(trained_net("model"), tmp_path / "source")
    items = Dataset(name="images", inputs={source.description.inputs[0].name: judge.held.inputs[0][:64]})
    # Distillation was to make the pruning good: without it the pruning goes too.
    gone = {0: {0}, 1: {0, 1}, 2: {2}}
    for place in range(len(recipe.passes)):
        result = runner(items, make=ruining(place)).run(source, recipe)
        undone = {i for i, stage in enumerate(result.stages) if stage.state == "rolled back"}
        assert undone == gone[place], result.notes
        assert judge.of_file(result.path) > 0.9 * judge.of_file(source.path)
