"""Judges the forms of scripts/bench/compression one after the other, by one thread, and keeps what each answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from edgeloop.app import App
from edgeloop.compress.items import read_arrays, write_arrays
from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.evaluate.inference import run_model
from edgeloop.evaluate.quality import assess
from edgeloop.orchestrate.candidates import model_path
from edgeloop.orchestrate.prepare import Prepared
from edgeloop.orchestrate.workers import in_worker
from edgeloop_foundation.errors import EdgeloopError
from numpy.typing import NDArray

_PART = 1000
"""Items whose answers are kept together: what a killed run loses at most."""


async def judge_each(
    app: App, prepared: Prepared, candidates: Sequence[Candidate], kept: Path
) -> list[Candidate]:
    """Return the candidates with their quality beside the first's, which is the original.

    The directory ``kept`` holds the answers of what was judged before, by artifact and data: a run that was killed goes
    on there.

    Raises:
        EdgeloopError: the original cannot be evaluated.
    """
    data = prepared.evaluation
    if data is None:
        return list(candidates)
    judged: list[Candidate] = []
    baseline: Mapping[str, NDArray[np.generic]] | None = None
    for candidate in candidates:
        if candidate.state is not CandidateState.BUILT:
            judged.append(candidate)
            continue
        try:
            answers = await _answers(app, prepared, candidate, kept)
        except EdgeloopError as error:
            if candidate.original:
                raise
            reason = f"it cannot be judged on the host: {error}"
            judged.append(replace(candidate, state=CandidateState.FAILED, reason=reason))
            continue
        baseline = answers if baseline is None else baseline
        judged.append(replace(candidate, quality=assess(baseline, answers, data, seed=0)))
    return judged


async def _answers(
    app: App, prepared: Prepared, candidate: Candidate, kept: Path
) -> Mapping[str, NDArray[np.generic]]:
    data = prepared.evaluation
    assert data is not None
    model, parts = model_path(app, candidate), []
    for start in range(0, len(data), _PART):
        path = kept / f"{candidate.artifact_digest}-{prepared.summary.digest}-{start}.npz"
        if not path.is_file():
            part = data.take(np.arange(start, min(start + _PART, len(data))))
            answers = await in_worker(app, candidate.label, run_model, model, part, threads=1)
            partial = path.with_suffix(".partial")
            write_arrays(partial, answers)
            partial.rename(path)
        parts.append(read_arrays(path))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
