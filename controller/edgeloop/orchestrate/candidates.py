"""Builds candidates in worker processes, keeps their artifacts, and judges them on the host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import digest_of

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.experiment import Listener
from edgeloop.domain.quality import Quality
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.prepare import Prepared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeloop.app import App
    from edgeloop.compress.build import BuildRequest, BuildResult
    from edgeloop.compress.packaging import Decision

    Outputs = Mapping[str, NDArray[np.generic]]

__all__ = ["build_candidates", "build_expected_s", "judge_candidates"]

_EVALUATOR = "edgeloop.evaluate.inference:run_model"
_TOLERANCES = "edgeloop.parity.tolerance:tolerances_for"
_GOLDEN_WRITER = "edgeloop.parity.golden:write_golden"

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
    app: App, prepared: Prepared, recipes: Sequence[Recipe], seed: int, listener: Listener
) -> tuple[Candidate, ...]:
    """Build every recipe, the original first; what fails is a candidate with its reason.

    Raises:
        InvalidInputError: not even the unmodified model runs on the golden inputs.
    """
    shared, decision = await asyncio.to_thread(_share, app, prepared)
    from edgeloop.compress.build import BuildRequest, build_candidate

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
            evaluator=_EVALUATOR,
            tolerances=_TOLERANCES,
            golden_writer=_GOLDEN_WRITER,
        )
        for recipe in recipes
    ]
    # The first build alone, in this process: it shows at once when the model itself is the trouble.
    results = [await asyncio.to_thread(build_candidate, requests[0])]
    if recipes[0] == ORIGINAL and results[0].state is not CandidateState.BUILT:
        raise InvalidInputError(f"the model cannot be used as it is: {results[0].reason}")
    results += await _build_rest(app, requests[1:], listener)
    return tuple([await _keep(app, recipe, built) for recipe, built in zip(recipes, results, strict=True)])


async def _build_rest(app: App, requests: Sequence[BuildRequest], listener: Listener) -> list[BuildResult]:
    from edgeloop.compress.build import build_candidate

    if not requests:
        return []
    loop = asyncio.get_running_loop()
    futures = [loop.run_in_executor(app.pool(), build_candidate, request) for request in requests]
    for done, future in enumerate(asyncio.as_completed(futures), start=1):
        built = await future
        listener.progress(f"built {built.label}", done, len(futures))
    return [future.result() for future in futures]


def _share(app: App, prepared: Prepared) -> tuple[_Shared, Decision]:
    from edgeloop.compress.items import write_arrays, write_items
    from edgeloop.compress.packaging import Decision
    from edgeloop.evaluate.inference import run_model
    from edgeloop.evaluate.task import decision_rule

    directory = app.work_directory(
        digest_of({"data": prepared.summary.digest, "model": prepared.description.digest})
    )
    outputs = run_model(prepared.source.path, prepared.golden, batch_size=1)
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
) -> tuple[Candidate, ...]:
    """Evaluate each built candidate once; those that certainly lost more than ``hopeless_drop`` are dropped.

    ``hopeless_drop`` is a share of the original's quality. Without labels the candidates come back as they are.
    """
    if prepared.evaluation is None:
        return tuple(candidates)
    built = [c for c in candidates if c.state is CandidateState.BUILT]
    baseline: Outputs | None = None
    judged: dict[str, Candidate] = {}
    for done, candidate in enumerate(sorted(built, key=lambda c: not c.original), start=1):
        path = _model_path(app, candidate)
        outputs, quality = await asyncio.to_thread(_evaluate, path, prepared, baseline, seed)
        baseline = outputs if baseline is None else baseline
        judged[candidate.label] = _with_quality(candidate, quality, hopeless_drop)
        listener.progress(f"judged {candidate.label}", done, len(built))
    return tuple(judged.get(candidate.label, candidate) for candidate in candidates)


def _model_path(app: App, candidate: Candidate) -> Path:
    directory = app.artifacts.directory(candidate.artifact_digest)
    return directory / app.artifacts.manifest(candidate.artifact_digest).model_file


def _evaluate(
    path: Path, prepared: Prepared, baseline: Outputs | None, seed: int
) -> tuple[Outputs, Quality | None]:
    from edgeloop.evaluate.inference import run_model
    from edgeloop.evaluate.quality import assess

    data = prepared.evaluation
    if data is None:
        return {}, None
    outputs = run_model(path, data)
    return outputs, assess(outputs if baseline is None else baseline, outputs, data, seed=seed)


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
