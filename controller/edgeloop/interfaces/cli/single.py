"""The verbs on one model: ``compress``, ``bench``, ``parity``, ``analyze``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from edgeloop_foundation.errors import InvalidInputError

from edgeloop.interfaces.cli.measuring import UNFIT, MeasuringCommand, measuring, refuse_sweep
from edgeloop.interfaces.cli.session import Session, json_option, on_option, seed_option, state_option

if TYPE_CHECKING:
    from edgeloop_protocol.types.artifact import StateBinding

    from edgeloop.domain.candidate import Candidate
    from edgeloop.domain.experiment import DeviceResult
    from edgeloop.domain.recipe import Recipe
    from edgeloop.interfaces.api import Edgeloop

__all__ = ["analyze", "bench", "compress", "parity"]

_data_option = click.option("--data", default="", help="Data for calibration, golden inputs and judgement.")


def _finish(
    ctx: click.Context,
    devices: Sequence[DeviceResult],
    as_json: bool,
    *,
    gains: bool = False,
    extra: dict[str, Any] | None = None,
) -> None:
    from edgeloop_protocol.types.run import Outcome

    from edgeloop.interfaces import present

    if as_json:
        present.print_json({"devices": devices, **(extra or {})})
    else:
        present.print_measurements(devices, gains=gains)
    runs = [run for device in devices for run in device.runs]
    if any(device.error for device in devices) or any(run.outcome is not Outcome.SUCCESS for run in runs):
        for run in runs:
            if run.failure_reason:
                click.echo(f"{run.device_name}: {run.trial.label}: {run.failure_reason}", err=True)
        if any(run.outcome is Outcome.GATE_REFUSED for run in runs):
            click.echo(UNFIT, err=True)
        ctx.exit(3)


@click.command()
@click.argument("model")
@_data_option
@click.option(
    "--recipes",
    type=click.Path(path_type=Path),
    help="YAML file with the recipes, or one that comes along: post_training, pruning, quantization, "
    "distillation, hybrid, progressive.",
)
@click.option(
    "--recipe",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Only these; repeatable. Without --recipes, one that comes along (hybrid, progressive, ...).",
)
@click.option(
    "--train",
    default="",
    metavar="FILE.py:FUNCTION",
    help="For passes that train: returns (inputs, labels) arrays, or batches each time it is iterated.",
)
@click.option(
    "--validate",
    default="",
    metavar="FILE.py:FUNCTION",
    help="(inputs, labels) that stages are judged by; a tenth of the training arrays without it.",
)
@click.option(
    "--loss",
    default="",
    metavar="FILE.py:FUNCTION",
    help="Loss of (outputs, labels); cross entropy without it.",
)
@click.option(
    "--grid",
    default="",
    metavar="N|DEVICE|PROFILE",
    help="Channels that are pruned together: a number, a device by name (device facts --probe measured it), or a "
    "board's profile.",
)
@state_option
@seed_option
@json_option
@click.pass_context
def compress(
    ctx: click.Context,
    model: str,
    data: str,
    recipes: Path | None,
    labels: tuple[str, ...],
    train: str,
    validate: str,
    loss: str,
    grid: str,
    state: tuple[str, ...],
    seed: int | None,
    as_json: bool,
) -> None:
    """Build candidates of MODEL on the host and judge each beside the original; the artifacts are kept.

    Recipes that train (pruning, distillation, hybrid, progressive) want MODEL as file.py:function that returns
    (torch module, example inputs), the extra torch, and --train; --data stays what everything is judged by.

    Exit 2 when one cannot be built; the others are shown all the same.
    """
    from edgeloop.compress.recipe_file import given_settings
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import parse_grid, parse_state

    session: Session = ctx.obj
    block = parse_grid(grid, session.state_directory())
    given: dict[str, Any] = {"train": train, "validate": validate, "loss": loss, "block": block}
    given = {name: value for name, value in given.items() if value}
    chosen = [given_settings(recipe, given) for recipe in _chosen_recipes(recipes, labels)]
    bindings = parse_state(state)
    with session.verbs() as verbs:
        ends = [_attempt(verbs, recipe, model, data, bindings, seed or 0) for recipe in chosen]
    built = [end for end in ends if not isinstance(end, InvalidInputError)]
    # A fault of the model is the same for every recipe: once is enough.
    failures = list({str(end): end for end in ends if isinstance(end, InvalidInputError)}.values())
    if as_json and built:
        present.print_json({"candidates": built})
    for candidate in () if as_json else built:
        present.print_candidate(candidate)
    for failure in failures[:-1]:
        click.echo(f"edgeloop: {failure}", err=True)
    if failures:
        raise failures[-1]


def _chosen_recipes(recipes: Path | None, labels: tuple[str, ...]) -> list[Recipe]:
    from edgeloop.compress.recipe_file import load_recipes, shipped_recipe

    if recipes is None:
        if not labels:
            raise InvalidInputError(
                "name recipes with --recipes FILE, or one that comes along with --recipe LABEL."
            )
        return [shipped_recipe(label) for label in labels]
    known = load_recipes(recipes)
    for label in labels:
        if label not in [recipe.label for recipe in known]:
            listed = ", ".join(recipe.label for recipe in known)
            raise InvalidInputError(f"{recipes.name} has no recipe {label!r}; it has {listed}.")
    chosen = [recipe for recipe in known if recipe.passes and (not labels or recipe.label in labels)]
    if not chosen:
        raise InvalidInputError(f"{recipes.name} names the original only: there is nothing to build.")
    return chosen


def _attempt(
    verbs: Edgeloop, recipe: Recipe, model: str, data: str, state: Sequence[StateBinding], seed: int
) -> Candidate | InvalidInputError:
    try:
        return verbs.compress(model, recipe, data=data, state=state, seed=seed)
    except InvalidInputError as error:
        return error


@click.command(cls=MeasuringCommand)
@click.argument("model")
@_data_option
@on_option
@state_option
@json_option
@measuring
@click.pass_context
def bench(
    ctx: click.Context,
    model: str,
    data: str,
    on: tuple[str, ...],
    state: tuple[str, ...],
    as_json: bool,
    words: Mapping[str, Any],
) -> None:
    """Benchmark MODEL, a file or the digest of a kept artifact, on devices."""
    from edgeloop.interfaces.options import parse_state

    session: Session = ctx.obj
    devices, bindings = session.devices(on), parse_state(state)
    how = session.measurement(words)
    with session.verbs() as verbs:
        results = verbs.bench(
            model,
            devices,
            how.benchmark,
            how.settings,
            data=data,
            state=bindings,
            variants=how.variants,
            sweep=how.sweep,
        )
    _finish(ctx, results, as_json)


@click.command(cls=MeasuringCommand)
@click.argument("model")
@_data_option
@on_option
@state_option
@click.option(
    "--explain/--no-explain",
    default=True,
    help="On a failure find the first diverging node on the device (default: yes).",
)
@json_option
@measuring
@click.pass_context
def parity(
    ctx: click.Context,
    model: str,
    data: str,
    on: tuple[str, ...],
    state: tuple[str, ...],
    as_json: bool,
    explain: bool,
    words: Mapping[str, Any],
) -> None:
    """Check on devices that the outputs of MODEL agree with the host's; exit 1 unless they all do."""
    from edgeloop_protocol.types.run import Verdict

    from edgeloop.interfaces.options import parse_state
    from edgeloop.interfaces.present_divergence import divergence_rows, print_divergences

    session: Session = ctx.obj
    devices, bindings = session.devices(on), parse_state(state)
    how = session.measurement(words)
    refuse_sweep(how, "parity")
    with session.verbs() as verbs:
        results = verbs.parity(
            model, devices, how.benchmark, how.settings, data=data, state=bindings, variants=how.variants
        )
        explained = verbs.explain_parity(results) if explain else ()
    _finish(ctx, results, as_json, extra={"divergences": divergence_rows(explained)})
    if not as_json:
        print_divergences(explained)
    verdicts = [evidence.parity for device in results for evidence in device.evidence]
    if not verdicts or any(verdict is not Verdict.PASSED for verdict in verdicts):
        ctx.exit(1)


@click.command()
@click.argument("model")
@_data_option
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Change each weight alone (8, 4, 2 bits, half pruned) and measure the error.",
)
@state_option
@json_option
@click.pass_context
def analyze(
    ctx: click.Context, model: str, data: str, sensitivity: bool, state: tuple[str, ...], as_json: bool
) -> None:
    """Describe MODEL, time its nodes on this host and say which recipes are worth trying, and why."""
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import parse_state

    session: Session = ctx.obj
    bindings = parse_state(state)
    with session.verbs() as verbs:
        analysis = verbs.analyze(model, data=data, state=bindings, sensitivity=sensitivity)
    present.print_json(analysis) if as_json else present.print_tree(analysis)
