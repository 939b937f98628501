"""``edgeloop telemetry collect|show|log``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option
from edgeloop.interfaces.cli.through_server import server_of

if TYPE_CHECKING:
    from edgeloop.domain.telemetry import Retention

__all__ = ["retention_of", "telemetry"]

_EXIT_DEVICE = 3


@click.group()
def telemetry() -> None:
    """Bring home what devices noted about themselves, and show it.

    Every agent takes a sample each 10 s and keeps some hours to days of them; collecting brings what is new.
    """


def retention_of(session: Session) -> Retention:
    """Return how much telemetry is kept: ``[telemetry]`` of the configuration, or the default."""
    from edgeloop.domain.telemetry import Retention

    config = session.config()
    if config is None:
        return Retention()
    return Retention(age_s=config.telemetry.age_s, bytes_max=config.telemetry.bytes_max)


@telemetry.command()
@on_option
@json_option
@click.pass_context
def collect(ctx: click.Context, on: tuple[str, ...], as_json: bool) -> None:
    """Read what is new from the devices, once; exit 3 when one does not answer.

    A device that was away sends what its ring still holds, and says how many samples gave way meanwhile. Results of
    measurements are not telemetry: they wait in the device's spool and are never dropped.
    """
    from edgeloop.app import App
    from edgeloop.interfaces import present
    from edgeloop.interfaces.present_telemetry import collected_rows
    from edgeloop.orchestrate.telemetry import collect as collect_devices

    session: Session = ctx.obj
    with App.open(session.directory()) as app:
        done = asyncio.run(collect_devices(app, session.devices(on), retention=retention_of(session)))
    if as_json:
        present.print_json({"collected": done})
    else:
        present.print_table(("device", "samples", "dropped", "bytes", "remark"), collected_rows(done))
    if any(one.error for one in done):
        ctx.exit(_EXIT_DEVICE)


@telemetry.command()
@click.argument("device")
@click.option(
    "--since", default="1h", show_default=True, metavar="TIME", help="Length of the window up to now."
)
@click.option(
    "--steps", type=click.IntRange(1, 1000), default=12, show_default=True, help="Steps of the window."
)
@json_option
@click.pass_context
def show(ctx: click.Context, device: str, since: str, steps: int, as_json: bool) -> None:
    """Show what was collected from DEVICE: its newest sample, each quantity over a window, bytes by day."""
    import time

    from edgeloop.app import App
    from edgeloop.interfaces import present
    from edgeloop.interfaces.options import parse_duration_s
    from edgeloop.interfaces.present_telemetry import print_shown
    from edgeloop.orchestrate.telemetry import look

    session: Session = ctx.obj
    since_s = parse_duration_s(since)
    if server := server_of(session):
        seen = server.telemetry(device, since_s=since_s, steps=steps)
    else:
        with App.open(session.directory()) as app:
            seen = look(app, device, now_s=time.time(), since_s=since_s, steps=steps)
    if as_json:
        present.print_json(seen)
    else:
        print_shown(seen)


@telemetry.command()
@click.argument("name")
@on_option
@click.pass_context
def log(ctx: click.Context, name: str, on: tuple[str, ...]) -> None:
    """Print the request log of served deployment NAME on one device, a JSON document per line.

    It is kept when the deployment is served with --request-log SIZE; no line has an input in it.
    """
    from edgeloop_foundation.errors import InvalidInputError

    session: Session = ctx.obj
    specs = session.devices(on)
    if len(specs) != 1:
        raise InvalidInputError(f"the log of one device is printed at a time, {len(specs)} are named.")
    asyncio.run(_print_log(session, specs[0], name))


async def _print_log(session: Session, spec: Any, name: str) -> None:
    from edgeloop.app import App
    from edgeloop.orchestrate.fleet import open_one

    with App.open(session.directory()) as app:
        async with open_one(app, spec) as device:
            async for lines in device.client.telemetry.request_log(name):
                click.echo(lines.decode("utf-8", "replace"), nl=False)
