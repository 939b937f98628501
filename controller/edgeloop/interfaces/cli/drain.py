"""``edgeloop device drain|undrain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option

if TYPE_CHECKING:
    from edgeloop_protocol.types.lease import Availability

    from edgeloop.domain.device import DeviceSpec

__all__ = ["drain", "undrain"]


@click.command()
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; whoever is refused reads it.")
@json_option
@click.pass_context
def drain(ctx: click.Context, name: str, reason: str, as_json: bool) -> None:
    """Take a device out of use: a running measurement finishes, nobody else gets it, also after a restart."""
    session: Session = ctx.obj
    spec = _one(session, name)
    with session.verbs() as verbs:
        _show(spec, verbs.drain(spec, reason), as_json)


@click.command()
@click.argument("name")
@json_option
@click.pass_context
def undrain(ctx: click.Context, name: str, as_json: bool) -> None:
    """Put a drained device back into use."""
    session: Session = ctx.obj
    spec = _one(session, name)
    with session.verbs() as verbs:
        _show(spec, verbs.undrain(spec), as_json)


def _one(session: Session, name: str) -> DeviceSpec:
    from edgeloop_foundation.errors import InvalidInputError

    specs = session.devices((name,))
    if len(specs) != 1:
        raise InvalidInputError(f"one device is drained at a time, {len(specs)} are named.")
    if specs[0].transport in ("local", "simulated"):
        raise InvalidInputError(
            f"{specs[0].name} lives as long as the command that uses it, so there is nothing to drain.",
            next_step="Name a device whose agent runs by itself: one that was added, unix:PATH or fleet:NAME/BOARD.",
        )
    return specs[0]


def _show(spec: DeviceSpec, found: Availability, as_json: bool) -> None:
    from edgeloop.interfaces import present

    if as_json:
        present.print_json({"device": spec, "availability": found})
        return
    why = f" by {found.drained_by}: {found.reason}" if found.drained_by else ""
    click.echo(f"{spec.name}: {found.state.value}{why}")
