"""Runs the passes of a recipe one after the other, each behind a checkpoint, and goes back when one
breaks its
promise.

A stage is kept in a directory named by everything that decides its content: the model, the passes so far,
the data, the seed and the libraries. A stage that is there is not computed again, whichever recipe asks for
it. What a failed pass wrote is dropped, and the recipe goes on from the last good stage.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import EdgeloopError, InternalError, InvalidInputError, UnsupportedError

from edgeloop.compress.compare import answers, nonfinite, unrelated
from edgeloop.compress.describe import describe
from edgeloop.compress.graph import external_locations, load_model
from edgeloop.compress.libraries import library_versions
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import UNCHANGED, Pass, PassContext
from edgeloop.compress.sources.base import SourceModel
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import PassSpec, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RecipeResult", "RecipeRunner", "Stage", "StageState"]

_MODEL = "model.onnx"
_RECORD = "stage.json"
_SCHEMA = 1

PassFactory = Callable[[PassSpec], Pass[Any]]


class StageState:
    """What became of one pass; plain words, because they stand in the checkpoint and in notes."""

    APPLIED = "applied"
    RESUMED = "resumed"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass of a recipe, as it went."""

    #: The pass with its settings.
    spec: PassSpec
    #: "applied", "resumed" from its checkpoint, or "rolled back".
    state: str
    #: Why it was rolled back; empty otherwise.
    reason: str = ""
    #: Whether the pass was to change the precision of the arithmetic.
    changes_precision: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """What a recipe made of a model."""

    #: The last good stage; the source itself when no pass was applied.
    path: Path
    #: What is known of it.
    description: ModelDescription
    #: Every pass of the recipe, in order.
    stages: tuple[Stage, ...]
    #: Things a person should know.
    notes: tuple[str, ...] = ()

    @property
    def applied(self) -> tuple[PassSpec, ...]:
        """The passes whose effect is in the model."""
        return tuple(stage.spec for stage in self.stages if stage.state != StageState.ROLLED_BACK)

    @property
    def rolled_back(self) -> tuple[Stage, ...]:
        """The passes that were undone."""
        return tuple(stage for stage in self.stages if stage.state == StageState.ROLLED_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRunner:
    """Runs recipes on one model.

    Attributes are the surroundings; :meth:`run` may be called for many recipes.
    """

    #: Where stages are kept; shared by recipes, processes and experiments.
    directory: Path
    #: What a pass may use; its work directory is replaced by one of each pass's own.
    context: PassContext
    #: Makes a configured pass.
    make: PassFactory = make_pass

    def run(self, source: SourceModel, recipe: Recipe) -> RecipeResult:
        """Apply the recipe.

        Raises:
            UnsupportedError: a pass does not apply to the model.
            InvalidInputError: a setting, the model or the data cannot be used.
            NotFoundError: a pass does not exist.
            MissingDependencyError: a pass needs a package that is not installed.
        """
        passes = [self.make(spec) for spec in recipe.passes]
        if passes and source.description.format != "onnx":
            raise UnsupportedError(
                f"passes work on ONNX, {source.description.name} is {source.description.format}.",
                next_step="Give the model as ONNX to have it compressed.",
            )
        reference = self._reference(source) if passes else {}
        path, model = source.path, source.description
        good: list[PassSpec] = []
        stages: list[Stage] = []
        notes: list[str] = []
        for spec, step in zip(recipe.passes, passes, strict=True):
            slot = self.directory / self._key(source.description, (*good, spec))
            resumed = self._resume(slot, source.description)
            reason = ""
            if resumed is None:
                reason, said = self._apply(step, path, model, slot, reference)
                notes += said
                resumed = None if reason else self._resume(slot, source.description)
                state = StageState.APPLIED
            else:
                state = StageState.RESUMED
                notes += json.loads((slot / _RECORD).read_text())["notes"]
            if reason or resumed is None:
                state, reason = StageState.ROLLED_BACK, reason or "its checkpoint is gone"
                notes.append(f"{step.name} was rolled back: {reason}")
            else:
                path, model = slot / _MODEL, resumed
                good.append(spec)
            changes = step.ensures.precision != UNCHANGED
            stages.append(Stage(spec=spec, state=state, reason=reason, changes_precision=changes))
        return RecipeResult(path=path, description=model, stages=tuple(stages), notes=tuple(notes))

    def _reference(self, source: SourceModel) -> Mapping[str, NDArray[np.generic]]:
        """Return the original's answers; without data, and when it takes no synthetic input, none."""
        try:
            return answers(source.path, source.description, self.context.calibration, seed=self.context.seed)
        except EdgeloopError:
            if self.context.calibration is not None:
                raise
            return {}

    def _key(self, source: ModelDescription, specs: tuple[PassSpec, ...]) -> str:
        data = self.context.calibration.digest if self.context.calibration else ""
        parts = [_SCHEMA, source.digest, Recipe(label="", passes=specs).canonical(), data, self.context.seed]
        parts += [list(pair) for pair in library_versions()] + [[b.input, b.output] for b in source.state]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()

    def _resume(self, slot: Path, source: ModelDescription) -> ModelDescription | None:
        """Return the description of a checkpoint's model; None when there is none or its bytes have
        changed."""
        if not (slot / _RECORD).is_file():
            return None
        try:
            found = describe(slot / _MODEL, source.name, source.state)
            if found.digest == json.loads((slot / _RECORD).read_text())["digest"]:
                return found
        except (EdgeloopError, ValueError, KeyError):
            pass
        shutil.rmtree(slot, ignore_errors=True)
        return None

    def _apply(
        self,
        step: Pass[Any],
        path: Path,
        model: ModelDescription,
        slot: Path,
        reference: Mapping[str, NDArray[np.generic]],
    ) -> tuple[str, list[str]]:
        """Run one pass into its slot; return why it must be undone, or an empty string, and its notes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="stage-", dir=self.directory) as name:
            made = Path(name) / "made"
            work = Path(name) / "work"
            made.mkdir()
            work.mkdir()
            try:
                result = step.run(path, made / _MODEL, replace(self.context, work_directory=work), model)
                broken = self._postcondition(result.path, result.description, reference)
            except InternalError as error:
                return error.message, []
            if broken:
                return broken, list(result.notes)
            _keep_only(made)
            record = {"digest": result.description.digest, "notes": list(result.notes)}
            (made / _RECORD).write_text(json.dumps(record))
            _publish(made, slot)
        return "", list(result.notes)

    def _postcondition(
        self, path: Path, model: ModelDescription, reference: Mapping[str, NDArray[np.generic]]
    ) -> str:
        """Return why the output is unfit (does not run, is not finite, is unrelated to the original's),
        or nothing."""
        if not reference:
            return ""
        try:
            actual = answers(path, model, self.context.calibration, seed=self.context.seed)
        except InvalidInputError as error:
            return error.message
        return nonfinite(actual, reference) or unrelated(actual, reference)


def _keep_only(directory: Path) -> None:
    """Drop everything that a pass left beside its model and its external data."""
    model = directory / _MODEL
    wanted = {_MODEL, *external_locations(load_model(model), model)}
    for path in directory.iterdir():
        if path.name not in wanted:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _publish(made: Path, slot: Path) -> None:
    """Put a finished stage in place at once; somebody else's equal stage that came first is as good."""
    try:
        made.rename(slot)
    except OSError:
        if not (slot / _RECORD).is_file():
            shutil.rmtree(slot, ignore_errors=True)
            made.rename(slot)
