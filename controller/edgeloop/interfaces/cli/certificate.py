"""``edgeloop certificate issue|verify|root``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option

if TYPE_CHECKING:
    from edgeloop_protocol.types.attestation import ParityStatement

__all__ = ["certificate"]

_EXIT_GATE = 1
_DAY_S = 86_400.0


@click.group()
def certificate() -> None:
    """Parity certificates: what a device serves agrees with its golden pack there, signed with the device's key."""


@certificate.command()
@click.argument("name")
@on_option
@click.option(
    "--days",
    type=click.FloatRange(min=0.001, max=366),
    default=30.0,
    show_default=True,
    help="How long it holds; never longer than the device's own certificate.",
)
@json_option
@click.pass_context
def issue(ctx: click.Context, name: str, on: tuple[str, ...], days: float, as_json: bool) -> None:
    """Have each device verify and run what it serves under NAME, and sign the result."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    devices = session.devices(on)
    with session.verbs() as verbs:
        done = [verbs.shipping.issue_certificate(name, spec, life_s=days * _DAY_S) for spec in devices]
    if as_json:
        present.print_json(
            {"certificates": [{"file": str(path), "statement": statement} for path, statement in done]}
        )
        return
    for path, statement in done:
        present.print_text(f"{path}: {_line(statement)}")


@certificate.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Certificate of an authority to trust, PEM; repeatable. Default: this controller's own fleet.",
)
@click.option("--device", default="", help="Refuse one of another device: name, identifier or identity.")
@click.option("--artifact", default="", help="Refuse one about another artifact: its digest, or the start.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context, file: Path, roots: tuple[Path, ...], device: str, artifact: str, as_json: bool
) -> None:
    """Verify the certificate in FILE offline; exit 1 when it is refused."""
    from edgeloop_foundation.errors import AccessDeniedError, StateError, UnauthenticatedError

    from edgeloop.interfaces import present

    session: Session = ctx.obj
    try:
        statement = session.plain().shipping.verify_certificate(file, roots, device=device, artifact=artifact)
    except (AccessDeniedError, StateError, UnauthenticatedError) as error:
        if as_json:
            present.print_json({"holds": False, "reason": str(error)})
        click.echo(f"edgeloop: {file}: refused: {error}", err=True)
        ctx.exit(_EXIT_GATE)
    if as_json:
        present.print_json({"holds": True, "statement": statement})
    else:
        present.print_text(f"{file}: holds: {_line(statement)}")


@certificate.command()
@click.pass_context
def root(ctx: click.Context) -> None:
    """Print the certificates of this fleet's authority, PEM, for those who verify elsewhere."""
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.certificate import trusted_here

    session: Session = ctx.obj
    present.print_text("".join(trusted_here(session.directory(), ()).roots).rstrip("\n"))


def _line(statement: ParityStatement) -> str:
    simulated = ", a simulated board" if statement.simulated else ""
    return (
        f"{statement.identity}{simulated} serves {statement.deployment} {statement.counter} "
        f"({statement.artifact_digest[:12]}), parity of {statement.parity.item_count} items on "
        f"{statement.runtime.name} {statement.runtime.version}, isolation {statement.isolation.tier}"
    )
