"""``edgeloop ladder``."""

from __future__ import annotations

import click

from edgeloop.interfaces.cli.session import Session, json_option, seed_option, state_option

__all__ = ["ladder"]


@click.command()
@click.argument("model")
@click.option("--data", required=True, help="Labelled data; a part of it calibrates and is not judged.")
@click.option(
    "--ladder",
    "name",
    default="quantization",
    show_default=True,
    metavar="NAME|FILE",
    help="quantization, at_rest, progressive, or a YAML file.",
)
@click.option(
    "--keep",
    default="99%",
    show_default=True,
    help="Least share of the original's quality, at the lower end of the 95 % interval.",
)
@click.option("--limit", default="", help="Begin no rung after this long, for example 10m.")
@state_option
@seed_option
@json_option
@click.pass_context
def ladder(
    ctx: click.Context,
    model: str,
    data: str,
    name: str,
    keep: str,
    limit: str,
    state: tuple[str, ...],
    seed: int | None,
    as_json: bool,
) -> None:
    """Compress MODEL stage on stage, rolling back each one that does not keep the quality.

    Each stage has rungs; the first that keeps enough is taken and the next stage stands on it. What was built is kept:
    an interrupted climb goes on. Exit 1 when no rung was taken.
    """
    from edgeloop.compress.ladder_file import load_ladder
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import parse_duration_s, parse_share, parse_state
    from edgeloop.interfaces.present_ladder import print_climb

    session: Session = ctx.obj
    rungs, share, limit_s = load_ladder(name), parse_share(keep), parse_duration_s(limit) if limit else None
    with session.verbs() as verbs:
        climb = verbs.ladder(
            model, rungs, data=data, keep=share, limit_s=limit_s, state=parse_state(state), seed=seed or 0
        )
    present.print_json({"climb": climb}) if as_json else print_climb(climb)
    if not any(step.taken for step in climb.steps):
        ctx.exit(1)
