"""``edgeloop ca init|status|issue|renew|revoke|rollover``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option

if TYPE_CHECKING:
    from edgeloop.orchestrate.identity import Kept

__all__ = ["ca"]


@click.group()
def ca() -> None:
    """The fleet's own authority: make it, issue, renew, revoke, roll over."""


@ca.command()
@click.option("--fleet", required=True, help="Name of the fleet: lower-case letters, digits, hyphens.")
@click.option("--name", default="", help="Name of this controller; default: this machine's.")
@json_option
@click.pass_context
def init(ctx: click.Context, fleet: str, name: str, as_json: bool) -> None:
    """Make the authority and this controller's own identity; $EDGELOOP_CA_PASSPHRASE locks the authority's key."""
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.identity import found_fleet

    session: Session = ctx.obj
    authority, own = found_fleet(session.directory(), fleet, name)
    if as_json:
        present.print_json({"fleet": fleet, "public_key": authority.fingerprint, "controller": own.uri})
    else:
        present.print_text(f"fleet {fleet}: authority SHA-256 {authority.fingerprint}")
        present.print_text(f"this controller is {own.uri}")
        present.print_text("next: edgeloop device enrol NAME --listen HOST:PORT")


@ca.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what was issued, how long it lives, and what is revoked."""
    from edgeloop.interfaces import present
    from edgeloop.interfaces.present_identity import print_ledger
    from edgeloop.orchestrate.identity import authority_of

    session: Session = ctx.obj
    authority = authority_of(session.directory())
    ledger = authority.ledger()
    if as_json:
        roots = [{"number": root.number, "trusted": root.trusted} for root in ledger.roots]
        present.print_json(
            {
                "fleet": ledger.fleet,
                "public_key": authority.fingerprint,
                "signing_root": ledger.active,
                "trust_number": ledger.number,
                "roots": roots,
                "issued": ledger.issued,
                "revoked": ledger.revoked,
            }
        )
    else:
        print_ledger(ledger, authority.fingerprint)


@ca.command()
@click.argument("role", type=click.Choice(["controller", "observer"]))
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Directory to write; it holds a private key.",
)
@click.pass_context
def issue(ctx: click.Context, role: str, name: str, output: Path) -> None:
    """Issue an identity to a further controller or to an observer, who sees but changes nothing."""
    from edgeloop_protocol.types.identity import Identity, Role

    from edgeloop.domain.identity import HolderFiles
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.identity import authority_of

    session: Session = ctx.obj
    authority = authority_of(session.directory())
    identity = Identity(fleet=authority.ledger().fleet, role=Role(role), name=name)
    authority.issue_holder(identity, HolderFiles(directory=output))
    present.print_text(f"{identity.uri}: {output}")
    present.print_text(f'use it: identity = "{output}" under the device in edgeloop.toml')


@ca.command()
@on_option
@click.option("--now", "force", is_flag=True, help="Renew even what is not due.")
@json_option
@click.pass_context
def renew(ctx: click.Context, on: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Renew this controller's certificate and those of --on devices; exit 3 when one could not be."""
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.identity import authority_of, keep_own

    session: Session = ctx.obj
    home = session.directory()
    authority_of(home)
    renewed = keep_own(home, force=force)
    if not as_json:
        present.print_text(f"this controller: {'renewed' if renewed else 'not due'}")
    _bring(ctx, session, on, force=force, as_json=as_json)


@ca.command()
@click.argument("who", metavar="ROLE/NAME")
@on_option
@json_option
@click.pass_context
def revoke(ctx: click.Context, who: str, on: tuple[str, ...], as_json: bool) -> None:
    """Revoke every key of ROLE/NAME and tell the --on devices, whose running calls of it end at once."""
    from edgeloop_protocol.types.identity import Identity

    from edgeloop.interfaces import present
    from edgeloop.orchestrate.identity import authority_of, keep_own

    session: Session = ctx.obj
    authority = authority_of(session.directory())
    identity = Identity.parse(f"spiffe://{authority.ledger().fleet}/{who}")
    authority.revoke(identity.uri)
    keep_own(session.directory())
    if not as_json:
        present.print_text(
            f"{identity.uri} is revoked; devices know it when they are told (--on, or the next run)"
        )
    _bring(ctx, session, on, force=False, as_json=as_json)


@ca.command()
@click.argument("step", type=click.Choice(["begin", "switch", "finish"]))
@on_option
@json_option
@click.pass_context
def rollover(ctx: click.Context, step: str, on: tuple[str, ...], as_json: bool) -> None:
    """Replace the authority's root: begin trusts a new one too, switch signs with it, finish drops the old one.

    Tell every device after begin, and renew everybody (ca renew --now) after switch.
    """
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.identity import authority_of, keep_own

    session: Session = ctx.obj
    authority = authority_of(session.directory())
    steps = {
        "begin": authority.begin_rollover,
        "switch": authority.switch_rollover,
        "finish": authority.finish_rollover,
    }
    steps[step]()
    keep_own(session.directory())
    if not as_json:
        present.print_text(f"rollover: {step} is done; authority SHA-256 {authority.fingerprint}")
    _bring(ctx, session, on, force=False, as_json=as_json)


def _bring(ctx: click.Context, session: Session, on: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Tell devices, if any are named, print how they stand, and exit 3 when one could not be told."""
    from edgeloop.interfaces import present
    from edgeloop.interfaces.present_identity import print_kept

    kept: tuple[Kept, ...] = ()
    if on:
        specs = session.devices(on)
        with session.verbs() as verbs:
            kept = verbs.keep_identities(specs, force=force)
    if as_json:
        present.print_json({"devices": kept})
    elif kept:
        print_kept(kept)
    if any(one.error for one in kept):
        ctx.exit(3)
