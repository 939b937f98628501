"""The verbs on a recorded experiment: ``select``, ``validate``, ``report``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeloop.interfaces.cli.session import Session, json_option
from edgeloop.interfaces.cli.through_server import server_of

__all__ = ["report", "select", "validate"]

_experiment = click.argument("experiment", default="latest")


@click.command()
@_experiment
@click.option("--require", multiple=True, metavar="EXPR", help="Constraints; default: the recorded ones.")
@click.option("--prefer", default="", metavar="QUANTITY", help="Preference; default: the recorded one.")
@json_option
@click.pass_context
def select(ctx: click.Context, experiment: str, require: tuple[str, ...], prefer: str, as_json: bool) -> None:
    """Decide again from the records of EXPERIMENT ("latest" or the beginning of its id)."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        result = verbs.select(experiment, require, prefer)
    present.print_json(result) if as_json else present.print_result(result)


@click.command()
@_experiment
@click.option(
    "--thresholds", type=click.Path(path_type=Path), required=True, help="TOML, YAML or JSON file of gates."
)
@json_option
@click.pass_context
def validate(ctx: click.Context, experiment: str, thresholds: Path, as_json: bool) -> None:
    """Hold EXPERIMENT against thresholds; exit 1 when a gate fails or cannot be decided."""
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import read_thresholds

    session: Session = ctx.obj
    table = read_thresholds(thresholds)
    with session.verbs() as verbs:
        gates = verbs.validate(verbs.result(experiment), table)
    present.print_json({"gates": gates}) if as_json else present.print_gates(gates)
    # No gate at all is a mistake in the thresholds, not a pass.
    if not gates or not all(gate.passed for gate in gates):
        ctx.exit(1)


@click.command()
@_experiment
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["html", "markdown", "json", "csv", "junit"]),
    default="markdown",
    show_default=True,
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File; default: standard output.")
@click.pass_context
def report(ctx: click.Context, experiment: str, format_name: str, output: Path | None) -> None:
    """Render EXPERIMENT."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    if server := server_of(session):
        from edgeloop.report import render

        text = render(server.result(experiment), format_name, server.samples)
    else:
        with session.verbs() as verbs:
            text = verbs.report(verbs.result(experiment), format_name)
    if output is None:
        present.print_text(text)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"wrote {output}", err=True)
