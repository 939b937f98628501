"""Runs the passes of a recipe one after the other, each behind a checkpoint, and goes back when one breaks its promise.

A stage is kept in a directory named by everything that decides its content: the model, the passes so far,
the data, the seed and the libraries. A stage that is there is not computed again, whichever recipe asks for it; one
that another process is at is waited for. What a failed pass wrote is dropped, and the recipe goes on from the last good
stage. A pass that only costs quality until another one has trained (provisional) is judged together with that one, and
both are undone when it was too much.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import EdgeloopError, InternalError, InvalidInputError, UnsupportedError
from edgeloop_foundation.locks import held_alone

from edgeloop.compress.compare import answers, nonfinite, unrelated
from edgeloop.compress.describe import describe
from edgeloop.compress.graph import external_locations, load_model
from edgeloop.compress.libraries import library_versions
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import UNCHANGED, Pass, PassContext
from edgeloop.compress.sources.base import SourceModel
from edgeloop.compress.training.module import MODULE_FILE
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
        climb = _Climb(runner=self, source=source, reference=self._reference(source) if passes else {})
        for spec, step in zip(recipe.passes, passes, strict=True):
            climb.take(spec, step)
        climb.end()
        last = climb.now
        return RecipeResult(
            path=last.path, description=last.model, stages=tuple(climb.stages), notes=tuple(climb.notes)
        )

    def _reference(self, source: SourceModel) -> Mapping[str, NDArray[np.generic]]:
        """Return the original's answers; without data, and when it takes no synthetic input, none."""
        try:
            return answers(source.path, source.description, self.context.calibration, seed=self.context.seed)
        except EdgeloopError:
            if self.context.calibration is not None:
                raise
            return {}

    def _key(self, source: ModelDescription, done: tuple[_Done, ...]) -> str:
        data = self.context.calibration.digest if self.context.calibration else ""
        specs = tuple(one.spec for one in done)
        parts = [_SCHEMA, source.digest, Recipe(label="", passes=specs).canonical(), data, self.context.seed]
        parts += [one.fingerprint for one in done if one.fingerprint]
        parts += [list(pair) for pair in library_versions()] + [[b.input, b.output] for b in source.state]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()

    def _resume(self, slot: Path, source: ModelDescription) -> ModelDescription | None:
        """Return the description of a checkpoint's model; None when there is none or its bytes have
        changed."""
        if not (slot / _RECORD).is_file():
            return None
        try:
            found = describe(slot / _MODEL, source.name, source.state)
            record = json.loads((slot / _RECORD).read_text())
            if found.digest == record["digest"] and _module_digest(slot) == record.get("module", ""):
                return found
        except (EdgeloopError, ValueError, KeyError):
            pass
        shutil.rmtree(slot, ignore_errors=True)
        return None

    def _alone(self, slot: Path) -> contextlib.AbstractContextManager[None]:
        """Be the only one at a stage, in any process; who wants it too waits until it is there or its maker is gone."""
        # Beside the stages, and never removed: an empty file each.
        locks = self.directory.with_name("stage-locks")
        locks.mkdir(parents=True, exist_ok=True)
        return held_alone(locks / slot.name)

    def _apply(
        self,
        step: Pass[Any],
        now: _Point,
        slot: Path,
        reference: Mapping[str, NDArray[np.generic]],
        original: Path | None,
    ) -> tuple[str, list[str]]:
        """Run one pass into its slot; return why it must be undone, or an empty string, and its notes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        unfinished = self.directory / "unfinished" / slot.name
        with tempfile.TemporaryDirectory(prefix="stage-", dir=self.directory) as name:
            made = Path(name) / "made"
            work = Path(name) / "work"
            made.mkdir()
            work.mkdir()
            context = replace(
                self.context,
                work_directory=work,
                module=now.module,
                original_module=original,
                checkpoint_directory=unfinished,
            )
            try:
                result = step.run(now.path, made / _MODEL, context, now.model)
                broken = self._postcondition(
                    result.path, result.description, reference, related=not step.provisional
                )
            except InternalError as error:
                _forget(unfinished)
                return error.message, []
            if broken:
                _forget(unfinished)
                return broken, list(result.notes)
            _keep_only(made)
            record = {"digest": result.description.digest, "notes": list(result.notes)}
            record["module"] = _module_digest(made)
            (made / _RECORD).write_text(json.dumps(record))
            _publish(made, slot)
        _forget(unfinished)
        return "", list(result.notes)

    def _postcondition(
        self,
        path: Path,
        model: ModelDescription,
        reference: Mapping[str, NDArray[np.generic]],
        *,
        related: bool = True,
    ) -> str:
        """Return why the output is unfit (does not run, is not finite, is unrelated to the original's),
        or nothing."""
        if not reference:
            return ""
        try:
            actual = answers(path, model, self.context.calibration, seed=self.context.seed)
        except InvalidInputError as error:
            return error.message
        return nonfinite(actual, reference) or (unrelated(actual, reference) if related else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """A pass whose effect is in the model."""

    spec: PassSpec
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """Where a recipe stands, and can go back to."""

    path: Path
    model: ModelDescription
    #: Trainable form; None when the model has none (any more).
    module: Path | None
    done: tuple[_Done, ...] = ()
    #: How many stages had been taken.
    stage_count: int = 0


class _Climb:
    """One run of a recipe: the stages so far, the present point, and the last one that was judged good."""

    def __init__(
        self, *, runner: RecipeRunner, source: SourceModel, reference: Mapping[str, NDArray[np.generic]]
    ) -> None:
        self._runner, self._source, self._reference = runner, source, reference
        self.now = self._good = _Point(path=source.path, model=source.description, module=source.module)
        self._judge: tuple[Callable[[Path], float], float] | None = None
        self._original_score = 0.0
        self._too_much: set[str] = set()
        self.stages: list[Stage] = []
        self.notes: list[str] = []

    def take(self, spec: PassSpec, step: Pass[Any]) -> None:
        """Take one stage, or go back to the last good point."""
        changes = step.ensures.precision != UNCHANGED
        stage = Stage(spec=spec, state=StageState.APPLIED, changes_precision=changes)
        if step.name in self._too_much:
            self._undo(stage, "a milder one before it did not keep the quality")
            return
        done = (*self.now.done, _Done(spec=spec, fingerprint=step.fingerprint()))
        slot = self._runner.directory / self._runner._key(self._source.description, done)
        reason = ""
        with self._runner._alone(slot):
            found = self._runner._resume(slot, self._source.description)
            if found is None:
                reason, said = self._runner._apply(step, self.now, slot, self._reference, self._source.module)
                self.notes += said
                found = None if reason else self._runner._resume(slot, self._source.description)
            else:
                stage = replace(stage, state=StageState.RESUMED)
                self.notes += json.loads((slot / _RECORD).read_text())["notes"]
        if reason or found is None:
            self._undo(stage, reason or "its checkpoint is gone")
            if self.now is not self._good and not step.provisional:
                self._back(f"{step.name}, which was to make it good, did not succeed")
            return
        self.stages.append(stage)
        module = slot / MODULE_FILE
        self.now = _Point(
            path=slot / _MODEL,
            model=found,
            module=module if module.is_file() else None,
            done=done,
            stage_count=len(self.stages),
        )
        self._take_judge(step)
        if not step.provisional:
            self._confirm()

    def end(self) -> None:
        """Judge what a provisional last stage left."""
        if self.now is not self._good:
            reason = self._runner._postcondition(self.now.path, self.now.model, self._reference)
            if reason:
                self._back(reason)
            else:
                self._confirm()

    def _take_judge(self, step: Pass[Any]) -> None:
        judge = step.judge_of(self._runner.context)
        if judge is not None:
            self._judge = judge
            self._original_score = judge[0](self._source.path)

    def _confirm(self) -> None:
        """Make the present point the one to go back to, if it kept enough of the original's score."""
        if self._judge is not None:
            score_of, keep = self._judge
            score, least = score_of(self.now.path), least_score(self._original_score, keep)
            name = self.stages[-1].spec.name
            if score < least:
                self._back(
                    f"after {name} the score is {score:.4f}, the original's {self._original_score:.4f}, and {keep:.1%} "
                    "of that is to be kept"
                )
                return
            self.notes.append(
                f"validated after {name}: score {score:.4f}, at least {least:.4f} was asked for"
            )
        self._good = self.now

    def _undo(self, stage: Stage, reason: str) -> None:
        self.stages.append(replace(stage, state=StageState.ROLLED_BACK, reason=reason))
        self.notes.append(f"{stage.spec.name} was rolled back: {reason}")

    def _back(self, reason: str) -> None:
        """Return to the last good point; every stage since is undone."""
        for place in range(self._good.stage_count, len(self.stages)):
            stage = self.stages[place]
            if stage.state == StageState.ROLLED_BACK:
                continue
            self.stages[place] = replace(stage, state=StageState.ROLLED_BACK, reason=reason)
            self.notes.append(f"{stage.spec.name} was rolled back: {reason}")
            if stage.spec.name.startswith("prune"):
                self._too_much.add(stage.spec.name)
        self.now = self._good


def least_score(original: float, keep: float) -> float:
    """Return the least score that keeps the share ``keep`` of the original's; scores below zero are losses."""
    return original * keep if original >= 0 else original / keep


def _module_digest(directory: Path) -> str:
    """Return SHA-256 of a stage's trainable form; empty without one."""
    path = directory / MODULE_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _forget(unfinished: Path) -> None:
    """Drop what an interrupted pass would have gone on from, and the directory of such when it was the last."""
    shutil.rmtree(unfinished, ignore_errors=True)
    with contextlib.suppress(OSError):
        unfinished.parent.rmdir()


def _keep_only(directory: Path) -> None:
    """Drop everything that a pass left beside its model and its external data."""
    model = directory / _MODEL
    wanted = {_MODEL, MODULE_FILE, *external_locations(load_model(model), model)}
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
