"""``edgeloop evaluate``."""

from __future__ import annotations

import click

from edgeloop.interfaces.cli.session import Session, json_option, seed_option, state_option

__all__ = ["evaluate"]


@click.command()
@click.argument("model")
@click.option("--data", required=True, help="Labelled data; the part for calibration is not judged.")
@click.option("--against", default="", metavar="MODEL", help="Model or artifact to stand beside: retention.")
@click.option(
    "--metric", default="", help="In place of the data's; a name, or FILE.py:FUNCTION(scores, labels)."
)
@state_option
@seed_option
@json_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: str,
    data: str,
    against: str,
    metric: str,
    state: tuple[str, ...],
    seed: int | None,
    as_json: bool,
) -> None:
    """Judge MODEL, a file or the digest of a kept artifact, on labelled data on this host."""
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import parse_state
    from edgeloop.interfaces.present_judgement import print_judgement

    session: Session = ctx.obj
    with session.verbs() as verbs:
        judgement = verbs.evaluate(
            model, data=data, against=against, metric=metric, state=parse_state(state), seed=seed or 0
        )
    present.print_json({"judgement": judgement}) if as_json else print_judgement(judgement, bool(against))
