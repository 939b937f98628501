"""``edgeloop device drain|undrain|cool-down|quarantine``: how a device is given out, and what it opens no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option

if TYPE_CHECKING:
    from edgeloop_protocol.types.lease import Availability, CoolDown

    from edgeloop.domain.device import DeviceSpec

__all__ = ["cool_down", "drain", "quarantine", "undrain"]


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


@click.command("cool-down")
@click.argument("name")
@click.option(
    "--idle", metavar="DURATION", help="Least time without a job before the next one begins, like 60s."
)
@click.option("--below", type=float, metavar="CELSIUS", help="Wait too until its hottest zone is below this.")
@click.option("--limit", default="10m", metavar="DURATION", help="Hold no job back for longer; 10m.")
@click.option("--off", is_flag=True, help="No rest any more.")
@json_option
@click.pass_context
def cool_down(
    ctx: click.Context,
    name: str,
    idle: str | None,
    below: float | None,
    limit: str,
    off: bool,
    as_json: bool,
) -> None:
    """Let a device rest before each job, whoever submits it; without an option, show how it rests.

    The agent keeps to it, also after a restart, and every run says how the device had rested. In the nominal series a
    device that is still too hot at the limit is refused.
    """
    session: Session = ctx.obj
    spec = _one(session, name)
    rule = _rule(idle, below, limit, off=off)
    with session.verbs() as verbs:
        found = verbs.set_cool_down(spec, rule) if rule or off else verbs.availability(spec)
    if as_json:
        _show(spec, found, as_json)
        return
    rest = (
        f"rests before each job: {found.cool_down.text}" if found.cool_down else "does not rest between jobs"
    )
    click.echo(f"{spec.name} {rest}")


@click.command()
@click.argument("name")
@click.option("--clear", metavar="DIGEST", help="Open it again: the beginning of its digest, or all.")
@json_option
@click.pass_context
def quarantine(ctx: click.Context, name: str, clear: str | None, as_json: bool) -> None:
    """Show the artifacts whose runners ended badly on a device; two times in a row, and it opens one no more.

    A strike is a runner that crashed, ran out of memory or had to be killed at its deadline. A run that succeeds wipes
    the strikes before it. An artifact in quarantine is neither measured nor installed there until it is cleared.
    """
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    spec = _one(session, name)
    with session.verbs() as verbs:
        if clear is not None:
            gone = verbs.clear_quarantine(spec, clear)
            if as_json:
                present.print_json({"device": spec, "cleared": gone})
            else:
                click.echo(f"{spec.name} opens again: {', '.join(digest[:12] for digest in gone)}")
            return
        found = verbs.quarantine(spec)
    if as_json:
        present.print_json(
            {
                "device": spec,
                "artifacts": [{"artifact": one, "quarantined": one.quarantined} for one in found],
            }
        )
        return
    if not found:
        click.echo(f"{spec.name}: no artifact has a strike")
        return
    present.print_table(
        ("artifact", "strikes", "", "last reason"),
        [
            (one.digest[:12], str(one.strike_count), "quarantined" if one.quarantined else "", one.reason)
            for one in found
        ],
    )


def _rule(idle: str | None, below: float | None, limit: str, *, off: bool) -> CoolDown | None:
    from edgeloop_foundation.errors import InvalidInputError
    from edgeloop_protocol.types.lease import CoolDown

    from edgeloop.interfaces.options import parse_duration_s

    if idle is None and below is None:
        return None
    if off:
        raise InvalidInputError("--off takes the rest away, it goes with no other option.")
    idle_s = parse_duration_s(idle) if idle else 0.0
    try:
        return CoolDown(idle_s=idle_s, below_celsius=below, limit_s=parse_duration_s(limit))
    except ValueError as error:
        raise InvalidInputError(f"{error}.") from error


def _one(session: Session, name: str) -> DeviceSpec:
    from edgeloop_foundation.errors import InvalidInputError

    specs = session.devices((name,))
    if len(specs) != 1:
        raise InvalidInputError(f"this is for one device at a time, {len(specs)} are named.")
    if specs[0].transport in ("local", "simulated"):
        raise InvalidInputError(
            f"{specs[0].name} lives as long as the command that uses it, so there is nothing to drain or to set.",
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
