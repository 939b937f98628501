"""``edgeloop artifact list|get|package|push``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option
from edgeloop.interfaces.cli.through_server import server_of

if TYPE_CHECKING:
    from edgeloop.orchestrate.push import Pushed

__all__ = ["artifact"]

_EXIT_GATE, _EXIT_DEVICE = 1, 3


@click.group()
def artifact() -> None:
    """List kept artifacts, copy one out, package one or bring it to devices."""


@artifact.command("list")
@json_option
@click.pass_context
def list_artifacts(ctx: click.Context, as_json: bool) -> None:
    """List every kept artifact, oldest first."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    if server := server_of(session):
        found = server.artifacts()
    else:
        with session.verbs() as verbs:
            found = verbs.artifacts()
    if as_json:
        present.print_json({"artifacts": [{"digest": digest, "manifest": m} for digest, m in found]})
    else:
        present.print_artifacts(found)


@artifact.command("get")
@click.argument("digest")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="New directory; default: the digest's beginning."
)
@json_option
@click.pass_context
def get(ctx: click.Context, digest: str, output: Path | None, as_json: bool) -> None:
    """Copy the files of the artifact DIGEST (its beginning is enough) into a new directory."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        whole, directory = verbs.get_artifact(digest, output or Path(digest[:12]))
    if as_json:
        present.print_json({"digest": whole, "directory": str(directory)})
    else:
        present.print_text(str(directory))


@artifact.command("package")
@click.argument("digest")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="New directory; default: the digest's beginning."
)
@click.option("--licence", default="", metavar="TEXT", help="Licence of the model, as its makers state it.")
@click.option(
    "--preprocessing",
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="Your code that makes the model's inputs from raw data, to go along.",
)
@json_option
@click.pass_context
def package(
    ctx: click.Context,
    digest: str,
    output: Path | None,
    licence: str,
    preprocessing: Path | None,
    as_json: bool,
) -> None:
    """Write the artifact DIGEST (its beginning is enough) as a package that stands alone.

    That is the model, its manifest, a model card with every figure on record and its conditions, the golden pack, and
    run.py: ten lines that run it with onnxruntime and numpy alone.
    """
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        whole, directory = verbs.package_artifact(
            digest, output or Path(digest[:12]), licence=licence, preprocessing=preprocessing
        )
    if as_json:
        present.print_json({"digest": whole, "directory": str(directory)})
    else:
        present.print_text(str(directory))


@artifact.command("push")
@click.argument("digest")
@on_option
@click.option("--max-bytes", metavar="SIZE", help="Send nothing when it would be more than this, like 50MB.")
@click.option("--bandwidth", metavar="RATE", help="Send to each device at most at this rate, like 1MB/s.")
@json_option
@click.pass_context
def push(
    ctx: click.Context,
    digest: str,
    on: tuple[str, ...],
    max_bytes: str | None,
    bandwidth: str | None,
    as_json: bool,
) -> None:
    """Bring the artifact DIGEST (its beginning is enough) to devices, all at once; measuring then sends nothing.

    Of a file that a device has parts of, only the others are sent. Exit 1 when a push would have been more than
    --max-bytes, 3 when a device could not be reached or has no room.
    """
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import parse_bytes

    session: Session = ctx.obj
    most = None if max_bytes is None else int(parse_bytes(max_bytes))
    rate = None if bandwidth is None else parse_bytes(bandwidth, per_second=True)
    with session.verbs() as verbs:
        done = verbs.push_artifact(digest, session.devices(on), max_bytes=most, bytes_per_s=rate)
    if as_json:
        present.print_json(
            {
                "devices": [
                    {"device": one.device.name, "result": one.result, "error": one.error} for one in done
                ]
            }
        )
    else:
        columns = ("device", "sent", "there before", "of that spliced", "breaks", "time", "remark")
        present.print_table(columns, [_row(one) for one in done])
    if any(one.error and not one.over_budget for one in done):
        ctx.exit(_EXIT_DEVICE)
    if any(one.over_budget for one in done):
        ctx.exit(_EXIT_GATE)


def _row(one: Pushed) -> tuple[str, ...]:
    from edgeloop.report.units import amount

    result = one.result
    if result is None:
        return (one.device.name, "-", "-", "-", "-", "-", one.error)
    sizes = (result.sent_bytes, result.present_bytes, result.spliced_bytes)
    return (
        one.device.name,
        *(amount(size, "B") for size in sizes),
        str(result.retries),
        amount(result.duration_s, "s"),
        "",
    )
