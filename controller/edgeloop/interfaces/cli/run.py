"""``edgeloop run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from edgeloop_foundation.errors import InvalidInputError

from edgeloop.interfaces.cli.measuring import UNFIT, MeasuringCommand, measuring
from edgeloop.interfaces.cli.session import Session, json_option, on_option, state_option

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.experiment import DeviceResult, ExperimentRequest, ExperimentResult
    from edgeloop.domain.recipe import Recipe

__all__ = ["finish", "run"]


@click.command(cls=MeasuringCommand)
@click.argument("model", required=False)
@click.option("--data", help="Data; see the README for the forms. Without labels the job is parity-only.")
@on_option
@click.option("--require", multiple=True, metavar="EXPR", help="'latency_p95 < 30ms'; repeatable.")
@click.option("--prefer", metavar="QUANTITY", help="'size', or weights: 'latency_p50:2,size:1'.")
@click.option(
    "--recipes", type=click.Path(path_type=Path), help="YAML file, or post_training; default: proposed."
)
@click.option("--budget", metavar="TIME", help="Time for the whole experiment, for example 10m.")
@click.option("--detach", is_flag=True, help="With --server: print the id in the queue and stop.")
@click.option("--dry-run", is_flag=True, help="Print the plan with expected minutes and stop.")
@click.option("--report", type=click.Path(path_type=Path), help="Directory for the report.")
@state_option
@json_option
@measuring
@click.pass_context
def run(
    ctx: click.Context,
    model: str | None,
    data: str | None,
    on: tuple[str, ...],
    require: tuple[str, ...],
    prefer: str | None,
    recipes: Path | None,
    budget: str | None,
    detach: bool,
    dry_run: bool,
    report: Path | None,
    state: tuple[str, ...],
    as_json: bool,
    words: Mapping[str, Any],
) -> None:
    """Compress MODEL, measure every candidate on every device, prove parity there, choose a strategy.

    With --server URL it is handed in there, files included, and followed: devices are those that the server knows.
    Ctrl-C asks on a terminal whether to call it off; without one it is called off.
    """
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    if session.server_url():
        _there(
            ctx,
            model,
            data,
            on,
            require,
            prefer,
            recipes,
            budget,
            state,
            words,
            detach,
            dry_run,
            report,
            as_json,
        )
        return
    if detach:
        raise InvalidInputError(
            "--detach is for an experiment at a server.", next_step="Name it: --server URL."
        )
    request = _request(
        session, model, data, session.devices(on), require, prefer, recipes, budget, state, words
    )
    if dry_run:
        with session.verbs() as verbs:
            plan = verbs.plan(request)
        present.print_json(plan) if as_json else present.print_plan(plan)
        return
    with session.verbs() as verbs:
        result = verbs.run(request)

    def write(directory: Path) -> Path:
        with session.verbs() as verbs:
            return verbs.write_report(result, directory)

    finish(ctx, result, report, as_json, write)


def finish(
    ctx: click.Context,
    result: ExperimentResult,
    report: Path | None,
    as_json: bool,
    write: Callable[[Path], Path],
) -> None:
    """Print an experiment, write its report where one is wanted, and exit with its status."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    config = session.config()
    directory = report or (Path(config.experiment.report) if config and config.experiment.report else None)
    # Before the report: a directory that cannot be written must not cost the answer.
    present.print_json(result) if as_json else present.print_result(result)
    if directory is not None:
        click.echo(f"report: {write(directory)}", err=True)
    refused = any(_refused(device) for device in result.devices)
    if refused:
        click.echo(UNFIT, err=True)
    if refused or any(device.error for device in result.devices):
        ctx.exit(3)


def _there(
    ctx: click.Context,
    model: str | None,
    data: str | None,
    on: Sequence[str],
    *more: Any,
) -> None:
    """Hand the experiment in at the server that is named."""
    from edgeloop.interfaces.cli.queue import run_there

    session: Session = ctx.obj
    *how, detach, dry_run, report, as_json = more
    if dry_run:
        raise InvalidInputError(
            "a plan is not made by a server.", next_step="Leave --dry-run out, or make it here: --server ''."
        )
    config = session.config()
    words = tuple(on) or tuple(config.experiment.on if config else ())
    request = _request(session, model, data, (), *how)
    run_there(ctx, request, words, detach=detach, report=report, as_json=as_json)


def _refused(device: DeviceResult) -> bool:
    """Return whether a device measured nothing because it was not fit."""
    from edgeloop_protocol.types.run import Outcome

    outcomes = {run.outcome for run in device.runs}
    return outcomes == {Outcome.GATE_REFUSED}


def _request(
    session: Session,
    model: str | None,
    data: str | None,
    devices: tuple[DeviceSpec, ...],
    require: Sequence[str],
    prefer: str | None,
    recipes: Path | None,
    budget: str | None,
    state: Sequence[str],
    words: Mapping[str, Any],
) -> ExperimentRequest:
    from edgeloop.domain.experiment import ExperimentRequest
    from edgeloop.interfaces.config import ExperimentConfig
    from edgeloop.interfaces.options import parse_duration_s, parse_state

    config = session.config()
    default = config.experiment if config else ExperimentConfig()
    chosen_model = model or default.model
    if not chosen_model:
        raise InvalidInputError(
            "no model is named.", next_step="Usage: edgeloop run MODEL --data DATA --on local"
        )
    recipe_file = recipes or (Path(default.recipes) if default.recipes else None)
    how = session.measurement(words)
    seed = words["seed"]
    limit = budget if budget is not None else default.budget
    return ExperimentRequest(
        model=chosen_model,
        data=default.data if data is None else data,
        devices=devices,
        require=tuple(require or default.require),
        prefer=prefer or default.prefer,
        recipes=_recipes(recipe_file),
        settings=how.settings,
        benchmark=how.benchmark,
        state=parse_state(state or default.state),
        seed=default.seed if seed is None else seed,
        budget_s=parse_duration_s(limit) if limit else None,
        variants=how.variants,
        sweep=how.sweep,
    )


def _recipes(path: Path | None) -> tuple[Recipe, ...]:
    if path is None:
        return ()
    from edgeloop.compress.recipe_file import load_recipes

    return load_recipes(path)
