"""``edgeloop queue list|attach|cancel``: experiments at a server; and how ``edgeloop run`` goes there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from edgeloop_foundation import errors as e

from edgeloop.interfaces.cli.session import Session, json_option
from edgeloop.interfaces.cli.through_server import served_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeloop.domain.experiment import ExperimentRequest, ExperimentResult
    from edgeloop.interfaces.queue_rows import QueueRow
    from edgeloop.interfaces.server import Server

__all__ = ["queue", "run_there"]


@click.group()
def queue() -> None:
    """Experiments that wait or run at a server (--server URL)."""


@queue.command("list")
@json_option
@click.pass_context
def list_queue(ctx: click.Context, as_json: bool) -> None:
    """List what was handed in, the last first."""
    from edgeloop.interfaces import present
    from edgeloop.report.units import moment

    session: Session = ctx.obj
    with served_by(session) as server:
        found = server.queue()
    if as_json:
        present.print_json({"queue": found})
        return
    present.print_table(
        ("id", "state", "priority", "model", "devices", "by", "since", "remark"),
        [
            (
                row.queue_id[:12], row.state, str(row.priority), row.model, ", ".join(row.on), row.submitted_by,
                moment(row.ended_wall_s or row.started_wall_s or row.created_wall_s), row.doing or row.reason,
            )
            for row in found
        ],
    )  # fmt: skip


@queue.command()
@click.argument("name", metavar="ID")
@click.option("--report", type=click.Path(path_type=Path), help="Directory for the report.")
@json_option
@click.pass_context
def attach(ctx: click.Context, name: str, report: Path | None, as_json: bool) -> None:
    """Follow the experiment ID of the queue to its end, and print what run prints."""
    session: Session = ctx.obj
    with served_by(session) as server:
        row = server.queued(name)
        ended = _followed(server, row)
        result = server.result(ended.experiment_id)
    show_result(ctx, server, result, report, as_json)


@queue.command()
@click.argument("name", metavar="ID")
@json_option
@click.pass_context
def cancel(ctx: click.Context, name: str, as_json: bool) -> None:
    """Call the experiment ID off, whether it waits or runs; its devices are given back."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with served_by(session) as server:
        row = server.cancel(name)
    if as_json:
        present.print_json(row)
    else:
        present.print_text(f"{row.queue_id} is {row.state}")


def run_there(
    ctx: click.Context,
    request: ExperimentRequest,
    on: Sequence[str],
    *,
    detach: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Hand an experiment in at the server that is named, follow it, and print what a run here prints.

    Raises:
        EdgeloopError: by which it failed there.
    """
    from edgeloop.domain.turn import ORDINARY_TURN
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with served_by(session) as server:
        row = server.submit(request, on=on, turn=session.turn or ORDINARY_TURN)
        if not detach:
            result = server.result(_followed(server, row).experiment_id)
    if not detach:
        show_result(ctx, server, result, report, as_json)
    elif as_json:
        present.print_json(row)
    else:
        present.print_text(row.queue_id)


def _followed(server: Server, row: QueueRow) -> QueueRow:
    """Return how an experiment ended that was recorded to its end.

    Raises:
        EdgeloopError: by which it failed.
    """
    try:
        ended = server.follow(row.queue_id)
    except KeyboardInterrupt:
        _interrupted(server, row)
        raise
    if ended.state == "cancelled":
        raise e.CancelledByUserError(ended.reason)
    if ended.state == "failed":
        kind = getattr(e, ended.error_kind, e.UnavailableError)
        known = isinstance(kind, type) and issubclass(kind, e.EdgeloopError)
        raise (kind if known else e.UnavailableError)(
            f"the experiment failed on {server.url}: {ended.reason}"
        )
    return ended


def _interrupted(server: Server, row: QueueRow) -> None:
    """Call it off, as an interrupt ends a run here; on a terminal somebody is asked first."""
    again = f"Follow it again: edgeloop --server {server.url} queue attach {row.queue_id[:12]}"
    if sys.stdin.isatty() and not click.confirm(
        f"\nCall the experiment off on {server.url} as well?", default=False, err=True
    ):
        click.echo(again, err=True)
        return
    try:
        server.cancel(row.queue_id)
    except e.EdgeloopError as error:
        click.echo(f"It could not be called off: {error} {again}", err=True)


def show_result(
    ctx: click.Context, server: Server, result: ExperimentResult, report: Path | None, as_json: bool
) -> None:
    """Print an experiment as ``edgeloop run`` does, write its report, and exit with its status."""
    from edgeloop.interfaces.cli.run import finish
    from edgeloop.report import write_report

    def write(directory: Path) -> Path:
        return write_report(result, directory, server.samples)

    finish(ctx, result, report, as_json, write)
