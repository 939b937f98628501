"""Judges the forms of scripts/bench/compression one after the other, by one thread, and keeps what each answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from edgeloop.app import App
from edgeloop.compress.items import read_arrays, write_arrays
from edgeloop.domain.candidate import Candidate
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.quality import Quality
from edgeloop.evaluate.inference import run_model
from edgeloop.evaluate.quality import assess
from edgeloop.orchestrate.candidates import judge_candidates
from edgeloop.orchestrate.prepare import Prepared
from edgeloop.orchestrate.workers import in_worker
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[np.generic]]

_PART = 1000
"""Items whose answers are kept together: what a killed run loses at most."""


async def judge_each(
    app: App, prepared: Prepared, candidates: Sequence[Candidate], kept: Path
) -> tuple[Candidate, ...]:
    """Return the candidates with their quality beside the original's.

    The directory ``kept`` holds the answers of what was judged before, by artifact and data: a run that was killed goes
    on there.

    Raises:
        EdgeloopError: the original cannot be evaluated.
    """

    async def evaluate(
        candidate: Candidate, model: Path, baseline: Outputs | None
    ) -> tuple[Outputs, Quality | None]:
        data = prepared.evaluation
        assert data is not None
        stem = f"{candidate.artifact_digest}-{prepared.summary.digest}"
        answers = await _answers(app, candidate.label, model, data, kept / stem)
        return answers, assess(answers if baseline is None else baseline, answers, data, seed=0)

    return await judge_candidates(
        app, prepared, candidates, seed=0, hopeless_drop=1.0, listener=SilentListener(), evaluate=evaluate
    )


async def _answers(app: App, label: str, model: Path, data: Dataset, stem: Path) -> Outputs:
    parts = []
    for start in range(0, len(data), _PART):
        path = stem.with_name(f"{stem.name}-{start}.npz")
        if not path.is_file():
            part = data.take(np.arange(start, min(start + _PART, len(data))))
            answers = await in_worker(app, label, run_model, model, part, threads=1)
            partial = path.with_suffix(".partial")
            write_arrays(partial, answers)
            partial.rename(path)
        parts.append(read_arrays(path))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
