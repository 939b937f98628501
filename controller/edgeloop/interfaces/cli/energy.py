"""``edgeloop energy align``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option

if TYPE_CHECKING:
    from edgeloop_protocol.types.measurement import Estimate

    from edgeloop.orchestrate.energy import AlignedRun

__all__ = ["energy"]


@click.group()
def energy() -> None:
    """Energy from meters that the device itself cannot read."""


@energy.command("align")
@click.argument("experiment_or_run", default="latest")
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    required=True,
    help="CSV with a column of time (time_s, timestamp) and one of power (power_w) or energy (energy_j, energy_wh).",
)
@json_option
@click.pass_context
def align(ctx: click.Context, experiment_or_run: str, trace: Path, as_json: bool) -> None:
    """Align the trace of a meter on another machine to EXPERIMENT_OR_RUN ("latest" or an id) by its load pulses.

    The runs need load pulses (``load_pulse = true`` in the benchmark). Nothing is recorded: the figures are printed
    with the name of their source. Exit 1 when no run could be aligned.
    """
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        rows = verbs.align_energy(experiment_or_run, trace)
    if as_json:
        present.print_json({"source": trace.name, "runs": rows})
    else:
        for row in rows:
            present.print_text(f"{row.device_name}: {row.label}: {_sentence(row)}")
    if not any(row.energy for row in rows):
        ctx.exit(1)


def _sentence(row: AlignedRun) -> str:
    found = row.energy
    if found is None:
        return row.reason
    at = found.alignment
    return (
        f"{_figure(found.gross_j, 'J')} per inference, {_figure(found.above_idle_j, 'J')} above idle, "
        f"{_figure(found.mean_power_w, 'W')}; from {found.source}, aligned to {at.uncertainty_s * 1e3:.0f} ms "
        f"(correlation {at.correlation:.2f}, elsewhere {at.runner_up:.2f} at most)"
    )


def _figure(estimate: Estimate, unit: str) -> str:
    if estimate.value is None:
        return f"no figure ({estimate.reason})"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g} {unit}"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}] {unit}"
