"""Runs a recipe again and again, killed (SIGKILL) at one more place each time, and at last to its end.

Usage: killed_recipe.py DIRECTORY: it holds ``task.json`` with the model and the passes, and ``items.npz``; what
came of every run is written to ``runs.json``, what a pass noted before it was killed to ``heard.txt``. Each run is a
process of its own, forked before anything was opened.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from edgeloop.compress.items import read_items
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.recipe_runner import RecipeRunner
from edgeloop.compress.sources import load_source
from edgeloop.domain.recipe import PassSpec, Recipe

MOMENTS = ("begun", "learning", "done")
"""With half of a file written; after the second epoch; with all of the file, before it is put in place.

What has learnt to its end has nothing left to be killed in: "learning" comes before "done".
"""


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(place, moment, heard):
    """A factory whose pass at ``place`` kills the process at a moment; harmless without a place."""
    made = []

    def make(spec):
        step = make_pass(spec)
        made.append(step)
        if len(made) - 1 != place:
            return step
        inner = step._run

        def run(source, target, context, model, note):
            if moment == "begun":
                target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
                die()
            if moment == "learning":
                die_after_epochs(2)
            inner(source, target, context, model, lambda text: kept_note(heard, text))
            die()

        step._run = run
        return step

    return make


def kept_note(heard, text):
    with heard.open("a") as file:
        file.write(f"{text}\n")


def die_after_epochs(count):
    from edgeloop.compress.training import loop

    keep, kept = loop._Run._keep, []

    def kept_and_killed(self):
        keep(self)
        kept.append(1)
        if len(kept) == count:
            die()

    loop._Run._keep = kept_and_killed


def run(directory, stages, place=-1, moment=""):
    task = json.loads((directory / "task.json").read_text())
    if task["torch"]:
        import torch

        torch.set_num_threads(1)
    source = load_source(task["model"], directory / "source")
    items = read_items(directory / "items.npz")
    context = PassContext(work_directory=directory, calibration=items)
    runner = RecipeRunner(
        directory=directory / stages, context=context, make=deadly(place, moment, directory / "heard.txt")
    )
    passes = tuple(PassSpec.of(one["pass"], **one["settings"]) for one in task["passes"])
    result = runner.run(source, Recipe(label="killed", passes=passes))
    said = {
        "states": [stage.state for stage in result.stages],
        "notes": result.notes,
        "path": str(result.path),
    }
    (directory / f"{stages}.json").write_text(json.dumps(said | {"digest": result.description.digest}))


def forked(*arguments):
    """Return the signal that ended the run; 0 when it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            run(*arguments)
        except BaseException as error:
            sys.stderr.write(f"{arguments[1:]}: {error!r}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a run failed")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def finished(stages):
    return sum(1 for path in stages.glob("*/stage.json"))


def main(directory):
    task = json.loads((directory / "task.json").read_text())
    # Once for all runs, which are forked from here; none of it opens anything.
    importlib.import_module("onnxruntime.quantization.shape_inference")
    with contextlib.suppress(ImportError):  # it needs sympy
        importlib.import_module("onnxruntime.tools.symbolic_shape_infer")
    if task["torch"]:
        importlib.import_module("torch")
    runs = []
    for place, one in enumerate(task["passes"]):
        learns = one["settings"].get("epochs", 0) > 2
        for moment in (m for m in MOMENTS if learns or m != "learning"):
            ended = forked(directory, "stages", place, moment)
            runs.append([place, moment, ended, finished(directory / "stages")])
    forked(directory, "stages")
    forked(directory, "unharmed")
    (directory / "runs.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
