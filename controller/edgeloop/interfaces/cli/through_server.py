"""What goes through a running ``edgeloop serve`` where one is named, and what does not; nothing falls back silently.

A server is named by ``--server``, EDGELOOP_SERVER, or ``server`` in the configuration. Its token stands in the file of
EDGELOOP_SERVER_TOKEN_FILE or ``server_token_file``, or in EDGELOOP_SERVER_TOKEN; the token of this machine's own home
is taken where its daemon runs and answers at the very address.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from edgeloop_foundation.errors import CorruptDataError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from edgeloop.interfaces.cli.session import Session
    from edgeloop.interfaces.server import Server

__all__ = ["LOCAL", "SERVED", "guarded", "served_by", "server_of"]

SERVED = frozenset(
    {
        "run", "report", "queue list", "queue attach", "queue cancel", "device list", "alerts list", "telemetry show",
        "model list", "model show", "model tag", "model untag", "artifact list", "rollout start", "rollout status",
        "rollout pause", "rollout resume", "rollout abort", "rollout approve",
    }
)  # fmt: skip
"""Verbs that ask the server where one is named."""

LOCAL = frozenset(
    {"init", "serve", "completion", "profile list", "profile show", "profile schema", "profile check"}
)
"""Verbs that need neither a home nor a server."""


def guarded(command: click.Command, path: str) -> click.Command:
    """Have a verb, and all below it, refuse where a server is named and it does not go through one."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            guarded(below, f"{path} {name}")
    elif path not in SERVED | LOCAL and command.callback is not None and not hasattr(command, "guarded"):
        command.callback = _refusing(command.callback, path)
        command.guarded = True  # type: ignore[attr-defined]
    return command


def _refusing(callback: Any, path: str) -> Any:
    @functools.wraps(callback)
    def called(*arguments: Any, **named: Any) -> Any:
        session: Session = click.get_current_context().obj
        if url := session.server_url():
            raise UnsupportedError(
                f"edgeloop {path} does not go through a server, and {url} is named as one.",
                next_step="Run it on the server's machine, or without a server: edgeloop --server '' ...",
            )
        return callback(*arguments, **named)

    return called


def _token(session: Session, url: str) -> str:
    if token := os.environ.get("EDGELOOP_SERVER_TOKEN", "").strip():
        return token
    if file := os.environ.get("EDGELOOP_SERVER_TOKEN_FILE", ""):
        return _token_in(Path(file).expanduser())
    config = session.config()
    if config is not None and config.server_token_file:
        return _token_in(session.beside_config(config.server_token_file))
    from edgeloop.store.serve_home import ServeHome

    home = ServeHome(session.directory())
    # Only to the daemon that this home says it has: another one at that address has no business with its token.
    return _token_in(home.token_path("operator")) if home.answers_at() == url.rstrip("/") else ""


def _token_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise NotFoundError(f"the file with the server's token, {path}, does not exist.") from None
    except UnicodeDecodeError:
        raise CorruptDataError(f"{path} holds no token.") from None


def _ca(session: Session) -> Path | None:
    if file := os.environ.get("EDGELOOP_SERVER_CA", ""):
        found = Path(file).expanduser()
    else:
        config = session.config()
        if config is None or not config.server_ca:
            return None
        found = session.beside_config(config.server_ca)
    if not found.is_file():
        raise NotFoundError(f"the file with the certificates to trust, {found}, does not exist.")
    return found


def server_of(session: Session) -> Server | None:
    """Return the server that is named, without progress; None when none is.

    Raises:
        InvalidInputError: the address cannot be used.
        UnauthenticatedError: there is no token for it.
        NotFoundError: a file that is named does not exist.
    """
    url = session.server_url()
    if not url:
        return None
    from edgeloop.interfaces.server import Server

    server = Server.at(url, token=_token(session, url), ca=_ca(session))
    click.get_current_context().call_on_close(server.close)
    return server


@contextlib.contextmanager
def served_by(session: Session) -> Iterator[Server]:
    """Yield the server that is named, with progress on standard error; raises what ``server_of`` raises.

    Raises:
        InvalidInputError: none is named.
    """
    from edgeloop_foundation.errors import InvalidInputError

    server = server_of(session)
    if server is None:
        raise InvalidInputError(
            "no server is named.",
            next_step="Name it: edgeloop --server http://127.0.0.1:8780 ..., or EDGELOOP_SERVER.",
        )
    if session.quiet:
        yield server
        return
    from edgeloop.interfaces.progress import ProgressListener

    with ProgressListener() as listener:
        yield server.heard_by(listener)
