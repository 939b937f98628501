"""Builds one candidate in a process of its own: recipe, host outputs, package; cached by everything it
depends
on."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import (
    EdgeloopError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedError,
)
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact

from edgeloop.compress.items import read_arrays, read_items
from edgeloop.compress.libraries import library_versions
from edgeloop.compress.packaging import NO_DECISION, Decision, package
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.recipe_runner import RecipeResult, RecipeRunner
from edgeloop.compress.sources.base import SourceModel
from edgeloop.domain.candidate import CandidateState
from edgeloop.domain.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from edgeloop.domain.dataset import Dataset

__all__ = ["SCHEMA_VERSION", "BuildRequest", "BuildResult", "build_candidate", "resolve"]

SCHEMA_VERSION = 2
"""Rises when the same inputs would be built differently; part of every cache key."""

_RECORD = "candidate.json"
_MANIFEST = "artifact.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything a worker process needs to build one candidate; picklable."""

    #: The user's model.
    source: SourceModel
    #: What is done to it.
    recipe: Recipe
    #: npz of calibration items (``input/<name>``); None when there are none.
    calibration_path: Path | None = None
    #: npz of golden items (``input/<name>``).
    golden_path: Path
    #: npz of the unmodified model's outputs (``<name>``) for the golden items; None to run it here.
    original_outputs_path: Path | None = None
    #: Where stages and finished candidates are kept.
    cache_directory: Path
    #: How decisions are read from the outputs.
    decision: Decision = NO_DECISION
    #: Seed of everything random.
    seed: int = 0
    #: Import path of the :class:`edgeloop.domain.ports.Evaluator`.
    evaluator: str
    #: Import path of ``precision -> tolerances``.
    tolerances: str
    #: Import path of ``write(path, data, host, original)``.
    golden_writer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What became of one candidate."""

    #: Label of the recipe.
    label: str
    #: BUILT, SKIPPED or FAILED.
    state: CandidateState
    #: One sentence; empty when built.
    reason: str = ""
    #: Host time; None when it came from the cache.
    build_s: float | None = None
    #: Manifest; None unless built.
    artifact: Artifact | None = None
    #: Name and path of each file of the artifact.
    files: tuple[tuple[str, Path], ...] = ()
    #: Things a person should know.
    notes: tuple[str, ...] = ()


def build_candidate(request: BuildRequest) -> BuildResult:
    """Build one candidate; what goes wrong with the model or a pass becomes part of the result.

    Runs in a worker process: module-level, picklable in and out.
    """
    label = request.recipe.label
    start = time.monotonic()
    try:
        key = _cache_key(request)
        slot = request.cache_directory / "candidates" / key
        cached = _cached(slot, label)
        if cached is not None:
            return cached
        return _build(request, slot, start)
    except (UnsupportedError, MissingDependencyError) as error:
        return BuildResult(
            label=label, state=CandidateState.SKIPPED, reason=str(error), build_s=time.monotonic() - start
        )
    except EdgeloopError as error:
        return BuildResult(
            label=label, state=CandidateState.FAILED, reason=str(error), build_s=time.monotonic() - start
        )


def resolve(path: str) -> Any:
    """Return what the import path ``module:name`` stands for.

    Raises:
        InvalidInputError: nothing.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInputError(f"import path {path!r} names nothing: {error}.") from error


def _cache_key(request: BuildRequest) -> str:
    files = (request.calibration_path, request.golden_path, request.original_outputs_path)
    parts = [
        SCHEMA_VERSION,
        request.source.description.digest,
        [[b.input, b.output] for b in request.source.description.state],
        request.recipe.canonical(),
        [make_pass(spec).fingerprint() for spec in request.recipe.passes],
        [_content_digest(path) if path is not None else "" for path in files],
        [request.decision.output, request.decision.rule, request.decision.threshold],
        request.seed,
        [request.evaluator, request.golden_writer],
        _policy(request.tolerances),
        [list(pair) for pair in library_versions()],
    ]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def _policy(path: str) -> list[str]:
    """Return the tolerance policy as text, so that a changed policy is another candidate."""
    table = resolve(path)
    return [path, *(repr(table(precision)) for precision in ("fp32", "fp16", "int8", "mixed"))]


def _content_digest(path: Path) -> str:
    """Return a digest of the arrays in an npz; the archive's own bytes hold time stamps."""
    digest = hashlib.sha256()
    for name, array in sorted(read_arrays(path).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _cached(slot: Path, label: str) -> BuildResult | None:
    """Return a finished candidate under its present label; a damaged one is removed."""
    from edgeloop.compress.graph import digest_of_files

    try:
        record = json.loads((slot / _RECORD).read_text())
        artifact = from_json((slot / _MANIFEST).read_bytes(), Artifact)
        for entry in artifact.files:
            if digest_of_files(slot / entry.name, ()) != entry.digest:
                raise ValueError(f"{entry.name} has changed")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, OSError):
        shutil.rmtree(slot, ignore_errors=True)
        return None
    return BuildResult(
        label=label,
        state=CandidateState.BUILT,
        artifact=replace(artifact, label=label),
        files=tuple((entry.name, slot / entry.name) for entry in artifact.files),
        notes=tuple(record["notes"]),
    )


def _build(request: BuildRequest, slot: Path, start: float) -> BuildResult:
    state = request.source.description.state
    golden = read_items(request.golden_path, state, "golden")
    made = _run_recipe(request)
    refusal = _refusal(made, request.recipe)
    if refusal:
        return BuildResult(
            label=request.recipe.label,
            state=CandidateState.FAILED,
            reason=refusal,
            build_s=time.monotonic() - start,
            notes=made.notes,
        )
    slot.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="candidate-", dir=slot.parent) as name:
        directory = Path(name) / "made"
        _package(request, made, golden, directory)
        (directory / _RECORD).write_text(json.dumps({"notes": list(made.notes)}))
        _publish(directory, slot)
    found = _cached(slot, request.recipe.label)
    if found is None:
        raise InvalidInputError(
            f"candidate {request.recipe.label!r} vanished from {slot} while it was read.",
            next_step="Check that nothing else cleans the cache directory.",
        )
    return replace(found, build_s=time.monotonic() - start)


def _run_recipe(request: BuildRequest) -> RecipeResult:
    state = request.source.description.state
    calibration = None
    if request.calibration_path is not None:
        calibration = read_items(request.calibration_path, state, "calibration")
    context = PassContext(
        work_directory=request.cache_directory / "work", calibration=calibration, seed=request.seed
    )
    runner = RecipeRunner(directory=request.cache_directory / "stages", context=context)
    return runner.run(request.source, request.recipe)


def _refusal(made: RecipeResult, recipe: Recipe) -> str:
    """Return why what is left after rollbacks may not carry the recipe's name, or an empty string."""
    undone = made.rolled_back
    lost = [stage for stage in undone if stage.changes_precision] or (undone if not made.applied else ())
    if not lost:
        return ""
    return f"{lost[0].spec.name} was rolled back: {lost[0].reason.rstrip('.')}."


def _package(request: BuildRequest, made: RecipeResult, golden: Dataset, directory: Path) -> None:
    evaluate = resolve(request.evaluator)
    host = evaluate(made.path, golden)
    if request.original_outputs_path is not None:
        original: Mapping[str, NDArray[np.generic]] = read_arrays(request.original_outputs_path)
    else:
        original = evaluate(request.source.path, golden)
    artifact, _ = package(
        made.path,
        made.description,
        label=request.recipe.label,
        recipe=Recipe(label=request.recipe.label, passes=made.applied),
        source_digest=request.source.description.digest,
        directory=directory,
        golden=golden,
        host=host,
        original=original,
        decision=request.decision,
        tolerances_for=resolve(request.tolerances),
        write_golden=resolve(request.golden_writer),
        approximate=any(make_pass(spec).ensures.approximate for spec in made.applied),
    )
    (directory / _MANIFEST).write_bytes(to_canonical_json(artifact))


def _publish(made: Path, slot: Path) -> None:
    """Put a finished candidate in place at once; an equal one that came first is as good."""
    try:
        made.rename(slot)
    except OSError:
        if not (slot / _RECORD).is_file():
            raise
