"""Model and data, loaded, described and divided, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import DataSummary, Listener
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.compress.sources import SourceModel

__all__ = ["Prepared", "prepare", "prepare_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What every candidate starts from."""

    source: SourceModel
    #: Items to calibrate on; None without data.
    calibration: Dataset | None
    #: Items to judge by; None without labels.
    evaluation: Dataset | None
    #: Items whose outputs are compared on the device.
    golden: Dataset
    summary: DataSummary

    @property
    def description(self) -> ModelDescription:
        """The model's description, state included."""
        return self.source.description


def prepare(
    app: App, model: str, data: str, state: Sequence[StateBinding], seed: int, listener: Listener
) -> Prepared:
    """Load and divide; without data the golden inputs are random and the experiment is parity-only.

    Raises:
        InvalidInputError: the model or the data cannot be used, in one sentence.
        NotFoundError: a file is missing.
    """
    from edgeloop.compress.sources import load_source
    from edgeloop.evaluate.datasets import load_data
    from edgeloop.evaluate.split import split

    source = load_source(model, app.work_directory("sources"), tuple(state))
    if not data:
        listener.note("No data was given: inputs are random, quality is not judged, only parity is.")
        return _with_random_inputs(source, seed)
    loaded = load_data(data, source.description, seed=seed)
    if loaded.state and not source.description.state:
        source = replace(source, description=replace(source.description, state=loaded.state))
    parts = split(loaded, seed)
    labelled = loaded.labels is not None
    if not labelled:
        listener.note("The data has no labels: quality is not judged, only parity is.")
    return Prepared(
        source=source,
        calibration=parts.calibration,
        evaluation=parts.evaluation if labelled else None,
        golden=parts.golden,
        summary=_summary(loaded, parts.calibration, parts.evaluation, parts.golden),
    )


def prepare_source(app: App, model: str, item_count: int) -> Prepared:
    """Load a model of our own with so many random inputs; raises what ``prepare`` raises."""
    from edgeloop.compress.sources import load_source

    return _with_random_inputs(load_source(model, app.work_directory("sources"), ()), 0, item_count)


def _with_random_inputs(source: SourceModel, seed: int, count: int = 64) -> Prepared:
    from edgeloop.evaluate.datasets import random_inputs

    golden = random_inputs(source.description, seed=seed, count=count)
    return Prepared(
        source=source,
        calibration=None,
        evaluation=None,
        golden=golden,
        summary=_summary(golden, None, None, golden),
    )


def _summary(
    data: Dataset, calibration: Dataset | None, evaluation: Dataset | None, golden: Dataset
) -> DataSummary:
    return DataSummary(
        name=data.name,
        digest=data.digest,
        evaluation_count=len(evaluation) if evaluation is not None and data.labels is not None else 0,
        calibration_count=len(calibration) if calibration is not None else 0,
        golden_count=len(golden),
        labelled=data.labels is not None,
        task=data.task,
        metric=data.metric,
    )
