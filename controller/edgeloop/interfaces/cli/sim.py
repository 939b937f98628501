"""``edgeloop sim up|list|status|down``: fleets of simulated boards."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option

if TYPE_CHECKING:
    from edgeloop_profiles.fleet_file import FleetPlan

    from edgeloop.orchestrate.fleet_hosts import HostProcesses
    from edgeloop.orchestrate.simulated_fleet import FleetStatus, StartedFleet

__all__ = ["sim"]

_LOOK_S = 0.2

_name_argument = click.argument("name", default="sim")


@click.group()
def sim() -> None:
    """Run fleets of simulated boards: the real agent on the real wire, many in few processes."""


@sim.command()
@click.option("--name", default="sim", help="What the fleet is called: --on fleet:NAME. Default: sim.")
@click.option("--count", type=click.IntRange(min=1), default=None, help="Boards in all.")
@click.option(
    "--mix",
    default="",
    metavar="FILE.toml|PROFILES",
    help="Fleet file, or profiles with shares like raspberry_pi_4:3,nuc11:1; default: every profile alike.",
)
@click.option("--seed", type=int, default=0, help="Seed of everything random in the fleet. Default: 0.")
@click.option("--state", type=click.Path(path_type=Path), help="Directory of the boards' state.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=None, help="Processes that share the boards."
)
@click.option("--faults", type=click.Path(path_type=Path), metavar="FILE.toml", help="Fault script.")
@click.option("--detach", is_flag=True, help="Leave the fleet running; end it with: edgeloop sim down.")
@json_option
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]")
@click.pass_context
def up(
    ctx: click.Context,
    name: str,
    count: int | None,
    mix: str,
    seed: int,
    state: Path | None,
    processes: int | None,
    faults: Path | None,
    detach: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Start a fleet and serve until Ctrl-C, until COMMAND ends (with its exit status), or for good with --detach.

    A fleet ends with this command, whatever ends it, unless it is detached. A fleet that runs already is left alone.
    """
    from edgeloop_foundation.errors import InvalidInputError

    from edgeloop.orchestrate.simulated_fleet import FleetRequest

    if detach and command:
        raise InvalidInputError("--detach and a command exclude each other.", next_step="Drop one of them.")
    request = FleetRequest(
        name=name,
        count=count or 0,
        mix=mix,
        seed=seed,
        directory=state,
        process_count=processes or 0,
        faults=faults,
    )
    session: Session = ctx.obj
    begin = time.monotonic()
    with session.plain().start_fleet(request, detached=detach) as fleet:
        _announce(fleet, time.monotonic() - begin, as_json)
        if command:
            ctx.exit(_run(command, session.home))
        if fleet.hosts is not None and not detach:
            _serve(fleet.hosts, fleet.plan)


def _announce(fleet: StartedFleet, took_s: float, as_json: bool) -> None:
    from edgeloop.interfaces import present

    plan, hosts = fleet.plan, fleet.hosts
    if as_json:
        row = {
            "name": plan.name,
            "seed": plan.seed,
            "started": hosts is not None,
            "ready_s": took_s if hosts is not None else None,
            "boards": plan.boards,
        }
        present.print_json(row)
        return
    what = (
        f"fleet {plan.name}: {len(plan.boards)} boards in {_processes(plan.process_count)}, seed {plan.seed}"
    )
    how = "which runs already" if hosts is None else f"ready in {took_s:.1f} s"
    click.echo(f"{what}, {how}")
    click.echo(f"use --on fleet:{plan.name} for all, --on fleet:{plan.name}/{plan.boards[0].name} for one")


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _run(command: tuple[str, ...], home: Path | None) -> int:
    from edgeloop_foundation.errors import NotFoundError

    where = {"EDGELOOP_HOME": str(home.absolute())} if home else {}
    try:
        ended = subprocess.run(command, check=False, env={**os.environ, **where})
    except OSError as error:
        raise NotFoundError(f"{command[0]} cannot be started: {error.strerror}.") from error
    return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode


def _serve(hosts: HostProcesses, plan: FleetPlan) -> None:
    from edgeloop_foundation.errors import UnavailableError

    try:
        while not (ended := hosts.ended()):
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        return  # the way to end it
    raise UnavailableError(
        f"process {ended[0]} of the fleet {plan.name} ended by itself.",
        next_step="See its log beside the state.",
    )


@sim.command("list")
@json_option
@click.pass_context
def list_fleets(ctx: click.Context, as_json: bool) -> None:
    """List the fleets that were started and not ended, without asking their boards."""
    session: Session = ctx.obj
    _show(session.plain().fleets(), as_json)


@sim.command()
@_name_argument
@json_option
@click.pass_context
def status(ctx: click.Context, name: str, as_json: bool) -> None:
    """Ask every board of a fleet whether it serves; exit 3 unless they all do."""
    session: Session = ctx.obj
    found = session.plain().fleet_status(name)
    _show([found], as_json)
    if found.serving_count != found.board_count:
        ctx.exit(3)


@sim.command()
@_name_argument
@click.pass_context
def down(ctx: click.Context, name: str) -> None:
    """End a fleet; the state of its boards stays for the next start."""
    session: Session = ctx.obj
    count = session.plain().stop_fleet(name)
    click.echo(f"fleet {name}: ended, {_processes(count)}")


def _show(fleets: Sequence[FleetStatus], as_json: bool) -> None:
    from edgeloop.interfaces import present

    if as_json:
        present.print_json({"fleets": fleets})
        return
    rows = [
        [
            fleet.name,
            str(fleet.board_count),
            str(fleet.seed),
            f"{sum(pid is not None for pid in fleet.processes)} of {len(fleet.processes)}",
            "" if fleet.memory_bytes is None else f"{fleet.memory_bytes / 1e6:.0f} MB",
            "" if fleet.serving_count is None else f"{fleet.serving_count}",
            "" if fleet.health_p99_s is None else f"{1e3 * fleet.health_p99_s:.1f} ms",
            ", ".join(f"{count} {kind}" for kind, count in fleet.faults),
        ]
        for fleet in fleets
    ]
    heads = ("fleet", "boards", "seed", "processes", "memory", "serving", "health p99", "faults")
    present.print_table(heads, rows)
    for fleet in fleets:
        for board, reason in fleet.failing:
            click.echo(f"{board}: {reason}", err=True)
