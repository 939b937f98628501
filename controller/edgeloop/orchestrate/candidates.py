"""Builds candidates in worker processes, keeps their artifacts, and judges them on the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.convert import digest_of

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import Listener
from edgeloop.domain.quality import Quality
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.prepare import Prepared
from edgeloop.orchestrate.workers import DEADLINE_S, in_worker, in_worker_within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeloop.app import App
    from edgeloop.compress.build import BuildRequest, BuildResult
    from edgeloop.compress.packaging import Decision

    Outputs = Mapping[str, NDArray[np.generic]]
    Evaluate = Callable[[Candidate, Path, Outputs | None], Awaitable[tuple[Outputs | None, Quality | None]]]

__all__ = [
    "EVALUATOR",
    "GOLDEN_WRITER",
    "TOLERANCES",
    "build_candidates",
    "build_expected_s",
    "evaluate_model",
    "given_candidate",
    "judge_candidates",
    "model_path",
]

EVALUATOR = "edgeloop.evaluate.inference:run_model"
TOLERANCES = "edgeloop.parity.tolerance:tolerances_for"
GOLDEN_WRITER = "edgeloop.parity.golden:write_golden"

_BUILD_S = 3.0
"""Planning figure for one candidate: start of a worker, one pass, calibration of a small model."""


def build_expected_s(prepared: Prepared, recipe: Recipe) -> float:
    """Return how long building and judging a candidate is expected to take; a planning figure."""
    megabytes = prepared.description.size_bytes / 1e6
    return (_BUILD_S if recipe.passes else 1.0) + 0.1 * megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """Files that every build of one experiment reads."""

    calibration: Path | None
    golden: Path
    original_outputs: Path


async def build_candidates(
    app: App,
    prepared: Prepared,
    recipes: Sequence[Recipe],
    seed: int,
    listener: Listener,
    *,
    reference: Prepared | None = None,
) -> tuple[Candidate, ...]:
    """Build every recipe, the original first; what fails is a candidate with its reason.

    ``reference`` is the model whose outputs stand for the original in the golden pack; None is ``prepared`` itself.

    Raises:
        InvalidInputError: not even the unmodified model runs on the golden inputs.
    """
    shared, decision = await _share(app, reference or prepared)
    from edgeloop.compress.build import BuildRequest

    requests = [
        BuildRequest(
            source=prepared.source,
            recipe=recipe,
            calibration_path=shared.calibration,
            golden_path=shared.golden,
            original_outputs_path=shared.original_outputs,
            cache_directory=app.state_directory / "builds",
            decision=decision,
            seed=seed,
            evaluator=EVALUATOR,
            tolerances=TOLERANCES,
            golden_writer=GOLDEN_WRITER,
        )
        for recipe in recipes
    ]
    # The first build alone: it shows at once when the model itself is the trouble.
    results = [await _build(app, requests[0])]
    if recipes[0] == ORIGINAL and results[0].state is not CandidateState.BUILT:
        raise InvalidInputError(f"the model cannot be used as it is: {results[0].reason}")
    results += await _build_rest(app, requests[1:], listener)
    return tuple([await _keep(app, recipe, built) for recipe, built in zip(recipes, results, strict=True)])


async def _build(app: App, request: BuildRequest) -> BuildResult:
    from edgeloop.compress.build import BuildResult, build_candidate

    label = request.recipe.label
    deadline_s = DEADLINE_S + _training_limit_s(request.recipe)
    try:
        return await in_worker_within(app, label, deadline_s, build_candidate, request)
    except InvalidInputError as error:
        return BuildResult(label=label, state=CandidateState.FAILED, reason=str(error))


def _training_limit_s(recipe: Recipe) -> float:
    """Return how long the recipe's passes may train, by their own settings."""
    from edgeloop.compress.passes import make_pass

    try:
        return sum(make_pass(spec).expected_limit_s() for spec in recipe.passes)
    except EdgeloopError:  # said by the build itself, as a candidate with its reason
        return 0.0


async def _build_rest(app: App, requests: Sequence[BuildRequest], listener: Listener) -> list[BuildResult]:
    done = 0

    async def one(request: BuildRequest) -> BuildResult:
        nonlocal done
        built = await _build(app, request)
        done += 1
        listener.progress(f"built {built.label}", done, len(requests))
        return built

    results = list(await asyncio.gather(*(one(request) for request in requests)))
    for place, (request, built) in enumerate(zip(requests, results, strict=True)):
        if built.build_s is None and built.artifact is None:
            # One worker's death takes the others' work with it: whoever was merely near it gets a second turn, alone.
            results[place] = await _build(app, request)
    return results


async def _share(app: App, prepared: Prepared) -> tuple[_Shared, Decision]:
    from edgeloop.compress.items import write_arrays, write_items
    from edgeloop.compress.packaging import Decision
    from edgeloop.evaluate.inference import run_model
    from edgeloop.evaluate.task import decision_rule

    directory = app.work_directory(
        digest_of({"data": prepared.summary.digest, "model": prepared.description.digest})
    )
    name = prepared.description.name
    outputs = await in_worker(app, name, run_model, prepared.source.path, prepared.golden, batch_size=1)
    rule = decision_rule(outputs, prepared.golden)
    write_items(directory / "golden.npz", prepared.golden)
    write_arrays(directory / "original.npz", outputs)
    calibration = None
    if prepared.calibration is not None:
        calibration = directory / "calibration.npz"
        write_items(calibration, prepared.calibration)
    shared = _Shared(
        calibration=calibration, golden=directory / "golden.npz", original_outputs=directory / "original.npz"
    )
    return shared, Decision(output=rule.output, rule=rule.rule, threshold=rule.threshold)


async def _keep(app: App, recipe: Recipe, built: BuildResult) -> Candidate:
    candidate = Candidate(
        label=recipe.label,
        recipe=recipe,
        state=built.state,
        reason=built.reason,
        build_s=built.build_s,
        notes=built.notes,
    )
    if built.artifact is None:
        return candidate
    digest = await asyncio.to_thread(app.artifacts.put, built.artifact, dict(built.files))
    return replace(
        candidate,
        artifact_digest=digest,
        size_bytes=built.artifact.model_size_bytes,
        travel_bytes=built.artifact.model_travel_bytes if built.artifact.expansions else 0,
        precision=built.artifact.precision,
    )


async def judge_candidates(
    app: App,
    prepared: Prepared,
    candidates: Sequence[Candidate],
    *,
    seed: int,
    hopeless_drop: float,
    listener: Listener,
    evaluate: Evaluate | None = None,
) -> tuple[Candidate, ...]:
    """Evaluate each built candidate once; those that certainly lost more than ``hopeless_drop`` are dropped.

    ``hopeless_drop`` is a share of the original's quality. Without labels the candidates come back as they are. One
    that cannot be evaluated is a candidate that failed, with its reason. ``evaluate`` takes the place of
    ``evaluate_model`` in a worker process.

    Raises:
        EdgeloopError: the original cannot be evaluated.
    """
    data = prepared.evaluation
    if data is None:
        return tuple(candidates)

    async def in_one_worker(
        candidate: Candidate, path: Path, baseline: Outputs | None
    ) -> tuple[Outputs | None, Quality | None]:
        return await in_worker(app, candidate.label, evaluate_model, path, data, baseline, seed)

    evaluate = evaluate or in_one_worker
    built = [c for c in candidates if c.state is CandidateState.BUILT]
    baseline: Outputs | None = None
    judged: dict[str, Candidate] = {}
    for done, candidate in enumerate(sorted(built, key=lambda c: not c.original), start=1):
        path = model_path(app, candidate)
        try:
            outputs, quality = await evaluate(candidate, path, baseline)
        except EdgeloopError as error:
            if candidate.original:
                raise
            reason = f"it cannot be judged on the host: {error}"
            judged[candidate.label] = replace(candidate, state=CandidateState.FAILED, reason=reason)
        else:
            baseline = outputs if baseline is None else baseline
            judged[candidate.label] = _with_quality(candidate, quality, hopeless_drop)
        listener.progress(f"judged {candidate.label}", done, len(built))
    return tuple(judged.get(candidate.label, candidate) for candidate in candidates)


def model_path(app: App, candidate: Candidate) -> Path:
    """Return the path of a built candidate's model."""
    directory = app.artifacts.directory(candidate.artifact_digest)
    return directory / app.artifacts.manifest(candidate.artifact_digest).model_file


def evaluate_model(
    path: Path, data: Dataset, baseline: Outputs | None, seed: int
) -> tuple[Outputs | None, Quality | None]:
    """Return the outputs, where they are the baseline of the others, and the quality beside the baseline."""
    from edgeloop.evaluate.inference import run_model
    from edgeloop.evaluate.quality import assess

    outputs = run_model(path, data)
    quality = assess(outputs if baseline is None else baseline, outputs, data, seed=seed)
    return (outputs if baseline is None else None), quality


def _with_quality(candidate: Candidate, quality: Quality | None, hopeless_drop: float) -> Candidate:
    if quality is None or quality.drop.low is None or quality.baseline.value is None:
        return replace(candidate, quality=quality)
    allowed = hopeless_drop * abs(quality.baseline.value)
    if not candidate.original and quality.drop.low > allowed:
        reason = (
            f"{quality.metric} falls by {quality.drop.value:.3g} (at least {quality.drop.low:.3g}), "
            f"more than {allowed:.3g}: not worth a measurement."
        )
        return replace(candidate, quality=quality, state=CandidateState.HOPELESS, reason=reason)
    return replace(candidate, quality=quality)


def given_candidate(app: App, label: str, digest: str, *, original: bool) -> Candidate:
    """Return a kept artifact as a candidate; how it was made is not asked.

    Raises:
        NotFoundError: no such artifact.
    """
    manifest = app.artifacts.manifest(digest)
    return Candidate(
        label=label,
        recipe=ORIGINAL if original else Recipe.from_tree(label, [{"pass": "given"}]),
        state=CandidateState.BUILT,
        artifact_digest=digest,
        size_bytes=manifest.model_size_bytes,
        precision=manifest.precision,
    )
