"""Judges one model on labelled data: the metric beside another model's, each class, and how steady the numbers are."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import Listener
from edgeloop.domain.judgement import Judgement
from edgeloop.orchestrate.prepare import prepare
from edgeloop.orchestrate.workers import in_worker

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["EvaluationRequest", "evaluate"]

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to judge, and by what."""

    #: Model, or the digest of a kept artifact.
    model: str
    data: str
    #: Model or artifact that stands for the original; empty for none.
    against: str = ""
    #: Metric in place of the data's; a name or an import path of a function.
    metric: str = ""
    state: tuple[StateBinding, ...] = ()
    seed: int = 0


async def evaluate(app: App, request: EvaluationRequest, listener: Listener) -> Judgement:
    """Judge a model on the part of the data that is not for calibration.

    Raises:
        InvalidInputError: the model or the data cannot be used, or the data has no labels.
        NotFoundError: no such file, artifact or metric.
    """
    listener.phase("Model and data")
    path, data = await asyncio.to_thread(_opened, app, request, request.model, listener)
    if data is None:
        raise InvalidInputError(
            f"{request.data} has no labels to judge by.", next_step="Give labelled data with --data."
        )
    data = replace(data, metric=request.metric or data.metric)
    other = path
    if request.against:
        other, _ = await asyncio.to_thread(_opened, app, request, request.against, listener)
    listener.phase("Judge")
    return await in_worker(app, request.model, _judge, request.model, path, other, data, request.seed)


def _opened(
    app: App, request: EvaluationRequest, model: str, listener: Listener
) -> tuple[Path, Dataset | None]:
    if _DIGEST.fullmatch(model):
        digest = app.artifacts.find(model)
        model = str(app.artifacts.directory(digest) / app.artifacts.manifest(digest).model_file)
    prepared = prepare(app, model, request.data, request.state, request.seed, listener)
    return prepared.source.path, prepared.evaluation


def _judge(name: str, path: Path, other: Path, data: Dataset, seed: int) -> Judgement:
    from edgeloop.evaluate.classes import class_scores, confusions
    from edgeloop.evaluate.inference import run_model
    from edgeloop.evaluate.quality import assess
    from edgeloop.evaluate.stability import stability
    from edgeloop.evaluate.task import infer_task, judged

    outputs = run_model(path, data)
    baseline = outputs if other == path else run_model(other, data)
    quality = assess(baseline, outputs, data, seed=seed)
    if quality is None:
        raise InvalidInputError(f"data {data.name!r} has no labels to judge by.")
    answers = judged(outputs, data, infer_task(outputs, data))
    decided = answers.decisions
    labels = answers.labels.astype("int64") if decided is not None else None
    return Judgement(
        model=name,
        quality=quality,
        classes=class_scores(labels, decided) if labels is not None and decided is not None else (),
        confusions=confusions(labels, decided) if labels is not None and decided is not None else (),
        stability=stability(path, data),
    )
