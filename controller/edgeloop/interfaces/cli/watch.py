"""``edgeloop device watch``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec

__all__ = ["watch"]


@click.command()
@click.argument("name", metavar="DEVICE")
@click.option("--interval", default="2s", show_default=True, metavar="TIME", help="Time between two looks.")
@click.option(
    "--count", type=click.IntRange(min=1), default=None, help="Stop after so many looks; default: never."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
@click.pass_context
def watch(ctx: click.Context, name: str, interval: str, count: int | None, as_json: bool) -> None:
    """Watch one device live: lease, job, heat, clock, memory, power, disk; exit 3 when it is gone at the end.

    Looking needs no lease. While a job runs, the agent looks at its sensors every 10 s at most and answers from the
    last look in between, so that watching does not disturb what is measured.
    """
    from edgeloop_foundation.errors import InvalidInputError

    from edgeloop.interfaces.options import parse_duration_s

    session: Session = ctx.obj
    specs = session.devices((name,))
    if len(specs) != 1:
        raise InvalidInputError(f"one device is watched at a time, {name!r} stands for {len(specs)}.")
    there = asyncio.run(_show(session, specs[0], parse_duration_s(interval), count or 0, as_json))
    if not there:
        ctx.exit(3)


async def _show(session: Session, spec: DeviceSpec, interval_s: float, count: int, as_json: bool) -> bool:
    from edgeloop.app import App
    from edgeloop.interfaces.present_watch import sight_json, sight_line
    from edgeloop.orchestrate.watch import watch_device

    there = False
    with App.open(session.state_directory()) as app:
        async for sight in watch_device(app, spec, interval_s=interval_s, count=count):
            there = sight.vitals is not None
            click.echo(sight_json(sight) if as_json else sight_line(sight))
    return there
