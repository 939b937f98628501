"""Energy of recorded runs from a trace that a meter on another machine has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.run import Run

from edgeloop.observe.foreign_energy import ForeignEnergy, energy_of
from edgeloop.observe.trace_file import read_trace

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["AlignedRun", "align_energy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedRun:
    """What a foreign meter tells of one run; the record of the run stays as the device has sent it."""

    #: The run.
    run_id: str
    #: The device's name.
    device_name: str
    #: Label of its trial.
    label: str
    #: Energy with its source; absent with a reason.
    energy: ForeignEnergy | None = None
    #: Why there is none; empty when there is.
    reason: str = ""


def align_energy(app: App, experiment_or_run: str, trace: Path) -> tuple[AlignedRun, ...]:
    """Return one row per run; what cannot be aligned has the reason.

    Raises:
        NotFoundError: no such file, and no such experiment or run.
        InvalidInputError: the file is no trace.
    """
    found = read_trace(trace)
    rows = []
    for run in _runs(app, experiment_or_run):
        energy, reason = None, ""
        try:
            energy = energy_of(run, found)
        except InvalidInputError as error:
            reason = str(error)
        rows.append(
            AlignedRun(
                run_id=run.run_id,
                device_name=run.device_name,
                label=run.trial.label,
                energy=energy,
                reason=reason,
            )
        )
    return tuple(rows)


def _runs(app: App, experiment_or_run: str) -> tuple[Run, ...]:
    try:
        return (app.records.run(experiment_or_run),)
    except NotFoundError:
        runs = app.records.runs(experiment_or_run)
    if not runs:
        raise NotFoundError(f"experiment {experiment_or_run} has no runs.")
    return runs
