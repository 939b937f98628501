"""``edgeloop alerts list|check``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option
from edgeloop.interfaces.cli.through_server import server_of

if TYPE_CHECKING:
    from edgeloop.domain.alert import RuleSettings
    from edgeloop.observe.notify import Sink
    from edgeloop.orchestrate.alerts import Checked

__all__ = ["alerts", "alerts_of"]

_EXIT_GATE, _EXIT_DEVICE = 1, 3


@click.group()
def alerts() -> None:
    """List what is wrong with devices and what they serve; check the rules.

    Rules: offline, throttling, disk, certificate, latency (a served model against its benchmark and its first window),
    drift (against its golden pack). Limits, webhook and command stand in edgeloop.toml under [alerts].
    """


def alerts_of(session: Session) -> tuple[RuleSettings, Sink]:
    """Return when the rules fire and who is told: ``[alerts]`` of the configuration, or the defaults and nobody."""
    from edgeloop.domain.alert import RuleSettings
    from edgeloop.observe.notify import Sink

    config = session.config()
    if config is None:
        return RuleSettings(), Sink()
    return config.alerts.settings(), Sink(webhook=config.alerts.webhook, command=tuple(config.alerts.command))


@alerts.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Resolved ones as well, the latest 100.")
@json_option
@click.pass_context
def list_alerts(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """Show the alerts that are open."""
    from edgeloop.app import App
    from edgeloop.interfaces.present_telemetry import print_alerts

    session: Session = ctx.obj
    if server := server_of(session):
        print_alerts(server.alerts(resolved=everything), as_json=as_json)
        return
    with App.open(session.directory()) as app:
        kept = app.telemetry().alerts
        print_alerts(kept.history() if everything else kept.open_alerts(), as_json=as_json)


@alerts.command()
@on_option
@click.option("--collect", "collects", is_flag=True, help="Collect from the devices of --on first.")
@json_option
@click.pass_context
def check(ctx: click.Context, on: tuple[str, ...], collects: bool, as_json: bool) -> None:
    """Hold the rules against what was collected, tell what changed; exit 1 when an alert is open.

    An alert begins once and ends once, whatever happens between: run this as often as you like. Exit 3 when the webhook
    or command could not be told; it is tried again at the next check.
    """
    from edgeloop.interfaces.present_telemetry import print_checked

    session: Session = ctx.obj
    checked = asyncio.run(_check(session, on if collects else None))
    print_checked(checked, as_json=as_json)
    if checked.untold:
        ctx.exit(_EXIT_DEVICE)
    if checked.open:
        ctx.exit(_EXIT_GATE)


async def _check(session: Session, on: tuple[str, ...] | None) -> Checked:
    from edgeloop.app import App
    from edgeloop.interfaces.cli.telemetry import retention_of
    from edgeloop.orchestrate.alerts import check_alerts
    from edgeloop.orchestrate.telemetry import collect

    settings, sink = alerts_of(session)
    with App.open(session.directory()) as app:
        if on is not None:
            await collect(app, session.devices(on), retention=retention_of(session))
        return await check_alerts(app, settings, sink)
