"""Tells an alert to a webhook or to a command, without a shell.

Both get one JSON object: rule, device, subject, state, message, runbook, opened_s, seen_s, resolved_s and key, which is
the same when an alert is told twice. Whoever is not reached is tried again at the next check.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, UnavailableError
from edgeloop_foundation.within import within

from edgeloop.domain.alert import Alert

__all__ = ["Sink", "alert_tree", "tell"]

_WAIT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Who is told; nobody when both are empty.

    Raises:
        InvalidInputError: the address is no http or https URL.
    """

    #: Gets a POST with the JSON object.
    webhook: str = ""
    #: Program and its arguments; gets the JSON object on its standard input.
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.webhook:
            parts = urllib.parse.urlsplit(self.webhook)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidInputError(f"a webhook is an http or https address, not {self.webhook[:80]!r}.")


def alert_tree(alert: Alert) -> dict[str, Any]:
    """Return an alert as it is told and printed."""
    return {
        "key": f"{alert.alert_id}-{alert.state.value}",
        "rule": alert.rule.value,
        "device": alert.device,
        "subject": alert.subject,
        "state": alert.state.value,
        "message": alert.message,
        "runbook": alert.runbook,
        "opened_s": alert.opened_s,
        "seen_s": alert.seen_s,
        "resolved_s": alert.resolved_s,
    }


async def tell(alert: Alert, sink: Sink) -> None:
    """Tell one alert to all who are to be told.

    Raises:
        UnavailableError: one of them could not be told.
    """
    body = json.dumps(alert_tree(alert)).encode()
    if sink.webhook:
        await asyncio.to_thread(_post, sink.webhook, body)
    if sink.command:
        await _run(sink.command, body)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An answer that points elsewhere is no answer: the alert would go to whom nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, body: bytes) -> None:
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    host = urllib.parse.urlsplit(url).hostname
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_WAIT_S):
            return
    except (OSError, ValueError) as error:
        raise UnavailableError(f"the webhook at {host} was not told: {error}.") from error


async def _run(command: Sequence[str], body: bytes) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError(f"the command {command[0]} cannot be started: {error.strerror}.") from error
    try:
        await within(process.communicate(body), _WAIT_S)
    except asyncio.TimeoutError as error:
        raise UnavailableError(f"the command {command[0]} did not end within {_WAIT_S:g} s.") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise UnavailableError(f"the command {command[0]} ended with status {process.returncode}.")
