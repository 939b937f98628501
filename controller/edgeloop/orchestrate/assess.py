"""Runs and the store's raw samples to assessments, beside the event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeloop_protocol.types.run import Run

from edgeloop.domain.latency import LatencyAssessment

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["assess_runs", "samples_of"]


def samples_of(app: App, runs: Sequence[Run]) -> dict[str, bytes]:
    """Return the raw samples that are kept of these runs, by digest.

    Raises:
        CorruptDataError: what is kept has another digest.
    """
    digests = {run.timing.samples_digest for run in runs if run.timing and run.timing.samples_digest}
    found = {digest: app.records.samples(digest) for digest in digests}
    return {digest: data for digest, data in found.items() if data is not None}


def assess_runs(runs: Sequence[Run], samples: Mapping[str, bytes]) -> dict[str, LatencyAssessment]:
    """Return the assessment of every run that measured latency, by run identifier; takes seconds for many runs.

    Args:
        runs: the runs.
        samples: their raw samples as ``samples_of`` gives them.

    Raises:
        CorruptDataError: samples that do not fit to their run.
    """
    from edgeloop.measure.assess import assess

    return {
        run.run_id: assess(run, samples.get(run.timing.samples_digest))
        for run in runs
        if run.timing is not None
    }
