from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import Ensures, Pass
from edgeloop.compress.recipe_runner import least_score
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

OPTIMIZE = PassSpec.of("optimize_graph")
STATIC = PassSpec.of("quantize_static")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No settings."""


class Poison(Pass[Nothing]):
    """Writes a model that loads but whose first weight is spoilt."""

    name = "poison"
    title = "poison"
    settings_type = Nothing
    ensures = Ensures()
    factor = np.float32("nan")

    def _run(self, source, target, context, source_model, note):
        model = onnx.load(source)
        for tensor in model.graph.initializer:
            if len(tensor.dims) > 1:
                spoilt = onnx.numpy_helper.to_array(tensor) * self.factor
                tensor.CopyFrom(onnx.numpy_helper.from_array(spoilt, tensor.name))
        target.write_bytes(model.SerializeToString())


class Exaggerate(Poison):
    """Answers that have nothing to do with the original's."""

    name = "exaggerate"
    title = "exaggerate"
    factor = np.float32(-3)


def counting(calls):
    """A pass factory that knows the two bad passes and counts what really runs."""

    def make(spec):
        known = {"poison": Poison, "exaggerate": Exaggerate}
        step = known[spec.name](Nothing()) if spec.name in known else make_pass(spec)
        inner = step._run

        def run(*arguments):
            calls.append(spec.name)
            inner(*arguments)

        step._run = run
        return step

    return make


@pytest.fixture
def source(zoo, tmp_path, load):
    return load(zoo.cnn(tmp_path / "m.onnx"))


def test_stages_are_resumed_and_shared_by_recipes(source, runner, image_data):
    calls = []
    one = runner(image_data, make=counting(calls))
    first = one.run(source, Recipe(label="a", passes=(OPTIMIZE, STATIC)))
    assert calls == ["optimize_graph", "quantize_static"]
    assert [s.state for s in first.stages] == ["applied", "applied"]
    again = one.run(source, Recipe(label="another name", passes=(OPTIMIZE, STATIC)))
    assert calls == ["optimize_graph", "quantize_static"]
    assert [s.state for s in again.stages] == ["resumed", "resumed"]
    assert again.description == first.description
    assert again.notes == first.notes
    one.run(source, Recipe(label="b", passes=(OPTIMIZE, PassSpec.of("quantize_static", encoding="U8U8"))))
    assert calls == ["optimize_graph", "quantize_static", "quantize_static"]


def test_other_data_is_another_stage(zoo, source, runner, image_data):
    calls = []
    runner(image_data, make=counting(calls)).run(source, Recipe(label="a", passes=(STATIC,)))
    other = image_data.take(list(range(5)))
    runner(other, make=counting(calls)).run(source, Recipe(label="a", passes=(STATIC,)))
    assert calls == ["quantize_static"] * 2


def test_a_damaged_checkpoint_is_made_again(source, runner, image_data):
    calls = []
    one = runner(image_data, make=counting(calls))
    made = one.run(source, Recipe(label="a", passes=(STATIC,)))
    model = onnx.load(made.path)
    model.producer_name = "somebody else"
    made.path.write_bytes(model.SerializeToString())
    repaired = one.run(source, Recipe(label="a", passes=(STATIC,)))
    assert calls == ["quantize_static"] * 2
    assert repaired.description.digest == made.description.digest


@pytest.mark.parametrize(
    ("bad", "reason"), [("poison", "are not finite"), ("exaggerate", "times as large as the output itself")]
)
def test_a_bad_pass_is_rolled_back_and_the_recipe_goes_on(source, runner, image_data, bad, reason):
    one = runner(image_data, make=counting([]))
    result = one.run(source, Recipe(label="a", passes=(OPTIMIZE, PassSpec.of(bad), STATIC)))
    assert [s.state for s in result.stages] == ["applied", "rolled back", "applied"]
    assert reason in result.rolled_back[0].reason
    assert any(note.startswith(f"{bad} was rolled back: ") and reason in note for note in result.notes)
    assert result.applied == (OPTIMIZE, STATIC)
    clean = one.run(source, Recipe(label="b", passes=(OPTIMIZE, STATIC)))
    assert [s.state for s in clean.stages] == [
        "resumed",
        "resumed",
    ]  # exactly as if the bad pass had not been there
    assert clean.path == result.path


def test_nothing_is_left_of_a_pass_that_was_rolled_back(source, runner, image_data, tmp_path):
    one = runner(image_data, make=counting([]))
    result = one.run(source, Recipe(label="a", passes=(PassSpec.of("poison"),)))
    assert result.path == source.path
    assert result.applied == ()
    assert list((tmp_path / "stages").iterdir()) == []


def test_the_original_is_passed_through_untouched(source, runner):
    result = runner().run(source, Recipe(label="original"))
    assert result.path == source.path
    assert result.description == source.description


def test_refusals_and_wrong_settings_reach_the_caller(source, runner):
    with pytest.raises(UnsupportedError, match="there is no calibration data"):
        runner().run(source, Recipe(label="a", passes=(STATIC,)))
    with pytest.raises(InvalidInputError, match="no setting"):
        runner().run(source, Recipe(label="a", passes=(OPTIMIZE, PassSpec.of("quantize_static", x=1))))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_recipe_that_was_interrupted_at_a_stage_goes_on_there(source, runner, image_data, place):
    steps = (OPTIMIZE, PassSpec.of("int4_at_rest", elements_min=64), STATIC)
    calls = []

    def interrupted(spec):
        step = counting(calls)(spec)
        if spec == steps[place]:

            def stop(*arguments):
                raise KeyboardInterrupt

            step._run = stop
        return step

    with pytest.raises(KeyboardInterrupt):
        runner(image_data, make=interrupted).run(source, Recipe(label="a", passes=steps))
    assert len(calls) == place
    result = runner(image_data, make=counting(calls)).run(source, Recipe(label="a", passes=steps))
    assert [s.state for s in result.stages] == ["resumed"] * place + ["applied"] * (3 - place)
    assert len(calls) == 3


def halving(factor, name="prune_half", *, provisional=True):
    """A pass that multiplies the first weight, and is judged by that weight's size."""

    class Half(Poison):
        """Costs what a later pass may give back."""

    Half.name = Half.title = name
    Half.factor = np.float32(factor)
    Half.provisional = provisional
    Half.ensures = Ensures(approximate=True)
    if not provisional:
        Half.judge_of = lambda self, context: (size_of_weight, 0.9)
    return Half(Nothing())


def size_of_weight(path):
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if len(t.dims) > 1)
    return float(np.abs(onnx.numpy_helper.to_array(weight)).mean())


def factory(**passes):
    return lambda spec: passes[spec.name] if spec.name in passes else make_pass(spec)


def test_a_provisional_stage_is_judged_with_the_one_that_heals_it(source, runner, image_data):
    heals = factory(prune_half=halving(0.5), heal=halving(2.0, "heal", provisional=False))
    recipe = Recipe(label="a", passes=(PassSpec.of("prune_half"), PassSpec.of("heal")))
    result = runner(image_data, make=heals).run(source, recipe)
    assert [s.state for s in result.stages] == ["applied", "applied"]
    assert any(note.startswith("validated after heal: score ") for note in result.notes)
    again = runner(image_data, make=heals).run(source, recipe)
    assert [s.state for s in again.stages] == ["resumed", "resumed"]


def test_stages_that_cost_too_much_are_undone_together_and_a_stronger_one_is_not_tried(
    source, runner, image_data
):
    passes = factory(prune_half=halving(0.8), heal=halving(1.0, "heal", provisional=False))
    steps = (OPTIMIZE, PassSpec.of("prune_half"), PassSpec.of("heal"), PassSpec.of("prune_half"), STATIC)
    result = runner(image_data, make=passes).run(source, Recipe(label="a", passes=steps))
    assert [s.state for s in result.stages] == [
        "applied",
        "rolled back",
        "rolled back",
        "rolled back",
        "applied",
    ]
    assert "and 90.0% of that is to be kept" in result.stages[1].reason
    assert result.stages[3].reason == "a milder one before it did not keep the quality"
    clean = runner(image_data).run(source, Recipe(label="b", passes=(OPTIMIZE, STATIC)))
    assert clean.description.digest == result.description.digest


def test_a_stage_that_was_to_heal_and_fails_takes_the_damage_along(source, runner, image_data):
    passes = factory(prune_half=halving(0.8), poison=Poison(Nothing()))
    steps = (PassSpec.of("prune_half"), PassSpec.of("poison"))
    result = runner(image_data, make=passes).run(source, Recipe(label="a", passes=steps))
    assert [s.state for s in result.stages] == ["rolled back", "rolled back"]
    assert result.path == source.path


def test_a_provisional_end_is_judged_by_its_answers(source, runner, image_data):
    passes = factory(prune_half=halving(-3.0))
    result = runner(image_data, make=passes).run(
        source, Recipe(label="a", passes=(PassSpec.of("prune_half"),))
    )
    assert [s.state for s in result.stages] == ["rolled back"]
    assert "times as large as the output itself" in result.stages[0].reason


def test_least_scores_of_shares_and_of_losses():
    assert least_score(0.8, 0.5) == 0.4
    assert least_score(-0.5, 0.5) == -1.0


class Slow(Pass[Nothing]):
    """Takes until it is let go; the first one can fail."""

    name = "slow"
    title = "slow"
    settings_type = Nothing
    ensures = Ensures()

    def __init__(self, begun, go_on, fails):
        super().__init__(Nothing())
        self.begun, self.go_on, self.fails = begun, go_on, fails

    def _run(self, source, target, context, source_model, note):
        self.begun.append(self)
        assert self.go_on.wait(30)
        if self.fails and len(self.begun) == 1:
            raise UnsupportedError("not this time")
        note("made")
        target.write_bytes(source.read_bytes())


@pytest.mark.parametrize("fails", [False, True])
def test_a_stage_that_somebody_else_is_at_is_waited_for_and_not_made_twice(source, runner, image_data, fails):
    begun, go_on = [], threading.Event()
    one = runner(image_data, make=lambda spec: Slow(begun, go_on, fails))
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(one.run, source, Recipe(label=str(i), passes=(PassSpec.of("slow"),)))
            for i in range(3)
        ]
        while not begun:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(begun) == 1
        go_on.set()
        failed = [run.exception() for run in runs if run.exception() is not None]
        made = [run.result() for run in runs if run.exception() is None]
    assert len(begun) == 1 + fails
    assert len(failed) == fails
    assert sorted(result.stages[0].state for result in made) == ["applied", *["resumed"] * (len(made) - 1)]
    assert all(result.notes == ("made",) for result in made)
    assert not (one.directory / "unfinished").exists()
