"""``edgeloop serve``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from edgeloop_foundation.addresses import is_loopback

from edgeloop.interfaces.cli.session import Session, on_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeloop.domain.inventory import InventoryEntry
    from edgeloop.interfaces.web.server import Listening
    from edgeloop.orchestrate.collector import CollectSettings
    from edgeloop.orchestrate.from_afar import KnownDevices
    from edgeloop.orchestrate.front_identity import FrontIdentity
    from edgeloop.store.serve_home import ServeHome, Tokens

__all__ = ["serve"]


@click.command()
@click.option("--listen", "address", default="127.0.0.1:8780", show_default=True, metavar="HOST:PORT",
              help="Where to answer; port 0 lets the system choose. Beyond loopback only with TLS.")  # fmt: skip
@click.option("--tls", "tls", is_flag=True, help="Use TLS with a certificate of the fleet's authority, whose "
              "controllers and observers need no token then.")  # fmt: skip
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Use TLS with this certificate chain, PEM.")  # fmt: skip
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Key of --tls-cert, PEM.")  # fmt: skip
@click.option("--host", "hosts", multiple=True, metavar="NAME",
              help="A further name under which it is asked; other hosts are refused; repeatable.")  # fmt: skip
@click.option("--interval", default="10s", show_default=True, metavar="TIME",
              help="Time between two looks at a device that nobody looks at; else it is a second.")  # fmt: skip
@click.option("--experiments-at-once", "at_once", type=click.IntRange(1, 32), default=1, show_default=True,
              metavar="N", help="How many experiments of the queue run beside each other.")  # fmt: skip
@on_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when it answers.")
@click.pass_context
def serve(
    ctx: click.Context,
    address: str,
    tls: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    hosts: tuple[str, ...],
    interval: str,
    at_once: int,
    on: tuple[str, ...],
    as_json: bool,
) -> None:
    """Watch the fleet, run experiments in a queue, and answer over HTTP; ends on SIGTERM or Ctrl-C.

    Watches the inventory and all simulated fleets, or what --on names. The first start makes two tokens, for an
    operator and for an observer, and prints addresses that sign in with them.
    """
    from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError

    from edgeloop.interfaces.options import parse_duration_s

    if (tls_cert is None) != (tls_key is None) or (tls and tls_cert):
        raise InvalidInputError("TLS is given by --tls, or by --tls-cert and --tls-key together.")
    try:
        from edgeloop.interfaces.web import server
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"edgeloop serve needs {error.name}.", next_step='Install "edgeloop[controller,serve]".'
        ) from error
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if not is_loopback(host) and not (tls or tls_cert):
        raise InvalidInputError(
            f"{address} is reached from elsewhere, and tokens would travel in the clear.",
            next_step="Add --tls (after edgeloop ca init), or listen on 127.0.0.1 and use a tunnel.",
        )
    session: Session = ctx.obj
    interval_s = parse_duration_s(interval)
    _run(session, server.listen(address), (tls, tls_cert, tls_key), hosts, (interval_s, at_once), on, as_json)


def _run(
    session: Session,
    listening: Listening,
    tls: tuple[bool, Path | None, Path | None],
    hosts: tuple[str, ...],
    pace: tuple[float, int],
    on: tuple[str, ...],
    as_json: bool,
) -> None:
    from edgeloop.app import App
    from edgeloop.interfaces.web.server import serve as serve_http
    from edgeloop.orchestrate.daemon import Daemon
    from edgeloop.store.serve_home import ServeHome

    by_fleet, certificate, key = tls
    home = ServeHome(session.state_directory())
    secure = by_fleet or certificate is not None
    url = listening.url(secure=secure, name=hosts[0] if hosts else "")
    with listening.socket, home.held(url), App.open(session.state_directory()) as app:
        identity = _identity(home, listening, hosts) if by_fleet else None
        tokens = home.tokens()
        daemon = Daemon(
            app, _entries(session, on), interval_s=pace[0], collecting=_collecting(session),
            known=_known(session), experiments_at_once=pace[1],
        )  # fmt: skip
        asyncio.run(
            serve_http(
                daemon, listening, tokens, hosts=hosts,
                certificate=identity.certificate if identity else certificate,
                key=identity.certificate if identity else key,
                identity=identity,
                ready=lambda: _say(home, url, tokens, as_json),
            )
        )  # fmt: skip


def _identity(home: ServeHome, listening: Listening, hosts: Sequence[str]) -> FrontIdentity:
    from edgeloop.orchestrate.front_identity import front_identity

    names = (listening.host, *hosts, "localhost", "127.0.0.1")
    return front_identity(home.directory.parent, home.directory, names)


def _collecting(session: Session) -> CollectSettings:
    from edgeloop.interfaces.cli.alerts import alerts_of
    from edgeloop.interfaces.cli.telemetry import retention_of
    from edgeloop.orchestrate.collector import CollectSettings

    rules, sink = alerts_of(session)
    return CollectSettings(rules=rules, sink=sink, retention=retention_of(session))


def _known(session: Session) -> KnownDevices:
    from edgeloop.orchestrate.from_afar import KnownDevices

    return KnownDevices(resolve=session.devices, entries=session.entries)


def _entries(session: Session, on: tuple[str, ...]) -> Callable[[], Sequence[InventoryEntry]]:
    from edgeloop.domain.inventory import InventoryEntry
    from edgeloop.orchestrate.daemon import with_fleets

    if on:
        known = {entry.name: entry for entry in session.entries()}
        chosen = [
            entry
            if (entry := known.get(spec.name)) is not None and entry.spec == spec
            else InventoryEntry(spec=spec)
            for spec in session.devices(on)
        ]
        return lambda: chosen
    return lambda: with_fleets(session.state_directory(), session.entries())


def _say(home: ServeHome, url: str, tokens: Tokens, as_json: bool) -> None:
    files = {role: str(home.token_path(role)) for role in ("operator", "observer")}
    if as_json:
        click.echo(json.dumps({"url": url, "token_files": files, "new_tokens": tokens.new}))
    elif tokens.new:
        click.echo(f"edgeloop serve answers at {url}")
        click.echo(f"operator: {url}/login#token={tokens.operator}")
        click.echo(f"observer: {url}/login#token={tokens.observer}")
    else:
        click.echo(f"edgeloop serve answers at {url}; the tokens are in {files['operator']} and beside it")
