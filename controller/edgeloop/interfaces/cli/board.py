"""``edgeloop device add|upgrade|remove``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from edgeloop_protocol.types.isolation_tier import TIERS

from edgeloop.interfaces.cli.session import Session

if TYPE_CHECKING:
    from edgeloop.orchestrate.board import ReadyDevice

__all__ = ["add", "remove", "upgrade"]

_REDRAW_S = 0.2

_dry_run_option = click.option("--dry-run", is_flag=True, help="Print every step and change nothing.")
_yes_option = click.option(
    "--yes", is_flag=True, help="Go on without asking; a host key is never accepted by this."
)


class _Terminal:
    """Tells on standard error and asks at the terminal, when there is one."""

    def __init__(self, yes: bool, quiet: bool) -> None:
        self._yes = yes
        self._quiet = quiet
        self._person = sys.stdin.isatty() and sys.stderr.isatty()
        self._drawn_s = 0.0

    def tell(self, line: str) -> None:
        if not self._quiet:
            click.echo(line, err=True)

    def confirm_key(self, host: str, kind: str, fingerprint: str) -> bool:
        if not self._person:
            return False
        click.echo(f"The host key of {host} is not known. It shows {kind}\n  {fingerprint}", err=True)
        return click.confirm("Is that the board's own?", default=False, err=True)

    def confirm_steps(self) -> bool:
        if self._yes or not self._person:
            return True
        return click.confirm("Go on?", default=True, err=True)

    def sent(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._quiet or (done < total and now - self._drawn_s < _REDRAW_S):
            return
        self._drawn_s = now
        if self._person:
            click.echo(f"\r  {done / 1e6:.1f} of {total / 1e6:.1f} MB", err=True, nl=done >= total)
        elif done >= total:
            click.echo(f"  {total / 1e6:.1f} MB are there", err=True)


@click.command()
@click.argument("address", metavar="USER@HOST")
@click.option("--name", default="", help="Name in the inventory; the host's by default.")
@click.option(
    "--host-key", default="", metavar="SHA256:...", help="Fingerprint that the board's key must have."
)
@click.option("--jump", default="", metavar="USER@HOST", help="Machine in between; a comma list for several.")
@click.option("--key", default="", metavar="FILE", help="Private key to log in with.")
@click.option(
    "--ssh-config", default="", metavar="FILE", help="SSH configuration to honour; default: ~/.ssh/config."
)
@click.option("--no-sudo", is_flag=True, help="Leave root's rights alone: a service of the user.")
@click.option("--memory-max", default="", metavar="SIZE", help="Most memory of the agent, for example 600M.")
@click.option(
    "--isolation",
    type=click.Choice(TIERS),
    help="Strongest tier of isolation to take; systemd (a unit of the system) is set up there. Kept over upgrades.",
)
@click.option("--no-enrol", is_flag=True, help="Give it no identity, although this fleet has an authority.")
@click.option("--bench", "model", default="", metavar="MODEL", help="Benchmark MODEL there when it is ready.")
@_yes_option
@_dry_run_option
@click.pass_context
def add(
    ctx: click.Context,
    address: str,
    name: str,
    host_key: str,
    jump: str,
    key: str,
    ssh_config: str,
    no_sudo: bool,
    memory_max: str,
    isolation: str | None,
    no_enrol: bool,
    model: str,
    yes: bool,
    dry_run: bool,
) -> None:
    """Set the agent up on a board that SSH reaches, and add the board to the inventory.

    Nothing of it listens on the network and the board needs no internet. Where the fleet has an authority (edgeloop ca
    init) the board is enrolled over the same connection. Run it again after a break: it goes on.
    """
    from edgeloop.orchestrate.board import AddRequest, add_device

    session: Session = ctx.obj
    request = AddRequest(
        address=address,
        name=name,
        host_key=host_key,
        jump=jump,
        key=str(Path(key).expanduser().absolute()) if key else "",
        ssh_config=str(Path(ssh_config).expanduser().absolute()) if ssh_config else "",
        sudo_allowed=not no_sudo,
        memory_max=memory_max,
        isolation=isolation or "",
        dry_run=dry_run,
        enrol=not no_enrol,
        inventory=session.inventory_path(),
    )
    ready = add_device(session.state_directory(), request, _Terminal(yes, session.quiet))
    _report(ready)
    if model and not dry_run:
        _bench(ctx, model, ready.spec.name)


def _report(ready: ReadyDevice) -> None:
    click.echo(ready.line())
    if ready.enrolment:
        click.echo(f"{ready.spec.name}: {ready.enrolment}", err=True)
    if ready.facts is not None and not ready.changed:
        click.echo("the agent there is of this version already", err=True)


def _bench(ctx: click.Context, model: str, name: str) -> None:
    from edgeloop.interfaces.cli.single import bench

    with bench.make_context("bench", [model, "--on", name], parent=ctx) as inner:
        bench.invoke(inner)


@click.command()
@click.argument("name")
@_yes_option
@_dry_run_option
@click.pass_context
def upgrade(ctx: click.Context, name: str, yes: bool, dry_run: bool) -> None:
    """Bring the agent of an added device to this version; it goes back when the new one does not answer."""
    from edgeloop.orchestrate.board import upgrade_device

    session: Session = ctx.obj
    terminal = _Terminal(yes, session.quiet)
    _report(
        upgrade_device(
            session.state_directory(), name, terminal, dry_run=dry_run, inventory=session.inventory_path()
        )
    )


@click.command()
@click.argument("name")
@_yes_option
@_dry_run_option
@click.pass_context
def remove(ctx: click.Context, name: str, yes: bool, dry_run: bool) -> None:
    """Remove the agent and all it keeps from a board, and the board from the inventory."""
    from edgeloop.orchestrate.board import remove_device

    session: Session = ctx.obj
    remove_device(
        session.state_directory(),
        name,
        _Terminal(yes, session.quiet),
        dry_run=dry_run,
        inventory=session.inventory_path(),
    )
    click.echo(
        f"{name}: nothing was changed (dry run)"
        if dry_run
        else f"{name}: removed, nothing of it is left there"
    )
