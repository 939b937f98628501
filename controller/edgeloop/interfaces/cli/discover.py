"""``edgeloop device discover``."""

from __future__ import annotations

import click

from edgeloop.interfaces.cli.session import Session, json_option

__all__ = ["discover"]


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=60),
    default=3.0,
    show_default=True,
    help="How long to listen.",
)
@click.option("--interface", default="", metavar="ADDRESS", help="Ask on the interface of this address only.")
@json_option
@click.pass_context
def discover(ctx: click.Context, seconds: float, interface: str, as_json: bool) -> None:
    """List agents that advertise on the local network, with the next step for each.

    An advert is a hint that anybody can send: nothing is contacted, added or trusted here.
    """
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.discover import discover as discovered

    session: Session = ctx.obj
    found = discovered(seconds, session.entries(), interface)
    if as_json:
        present.print_json({"adverts": found})
    elif not found:
        present.print_text(
            f"No agent advertised within {seconds:g} s. Agents do so with: edgeloop-agent serve --advertise"
        )
    else:
        rows = [
            (
                x.advert.name,
                ", ".join(x.advert.addresses),
                str(x.advert.port),
                x.advert.via,
                x.known_as,
                x.next_step,
            )
            for x in found
        ]
        present.print_table(["advertised", "addresses", "port", "via", "known as", "next step"], rows)
