"""``edgeloop device enrol``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeloop.interfaces.cli.session import Session

__all__ = ["enrol"]


@click.command()
@click.argument("name")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Enrol an agent of this machine: its state directory.",
)
@click.option(
    "--listen", default="", metavar="HOST:PORT", help="Print a join token and wait for the device there."
)
@click.pass_context
def enrol(ctx: click.Context, name: str, state: Path | None, listen: str) -> None:
    """Give the device NAME an identity in the fleet: its key is made there and stays there."""
    from edgeloop_foundation.errors import InvalidInputError

    from edgeloop.interfaces import present
    from edgeloop.orchestrate import enrol as verbs

    session: Session = ctx.obj
    if (state is None) == (not listen):
        raise InvalidInputError(
            "give either --state DIRECTORY (an agent of this machine) or --listen HOST:PORT (a join token)."
        )
    if state is not None:
        identity = verbs.enrol_here(session.directory(), name, state)
    else:
        with verbs.join_offer(session.directory(), name, listen) as offer:
            present.print_text("on the device, within 15 minutes:")
            present.print_text(
                "  edgeloop-agent enrol join --state STATE_DIRECTORY "
                f"--controller {offer.address} --token-file -"
            )
            present.print_text(f"and give it this token: {offer.token}")
            identity = offer.wait()
    present.print_text(f"{identity.name} is enrolled as {identity.uri}")
