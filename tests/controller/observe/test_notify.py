"""Who is told of an alert: a webhook and a command, without a shell, and errors as sentences."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.domain.alert import Alert, Rule
from edgeloop.observe.notify import Sink, tell
from edgeloop_foundation.errors import InvalidInputError, UnavailableError

ALERT = Alert(
    rule=Rule.OFFLINE, device="pi; rm -rf $HOME", message="gone.", opened_s=1.0, seen_s=2.0, alert_id=3
)


class _Hook(http.server.BaseHTTPRequestHandler):
    bodies: list[bytes]
    status: int = 204

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[type[_Hook], str]]:
    handler = type("Hook", (_Hook,), {"bodies": []})
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_address[1]}/hook"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_webhook_gets_the_alert(hook: tuple[type[_Hook], str]) -> None:
    handler, url = hook
    await tell(ALERT, Sink(webhook=url))
    (body,) = handler.bodies
    told = json.loads(body)
    assert (told["key"], told["rule"], told["device"], told["state"]) == (
        "3-open",
        "offline",
        ALERT.device,
        "open",
    )
    assert told["runbook"] == "docs/troubleshooting.md#alert-offline"


@pytest.mark.parametrize("status", [302, 500])
async def test_a_webhook_that_refuses_or_points_elsewhere_was_not_told(
    hook: tuple[type[_Hook], str], status: int
) -> None:
    handler, url = hook
    handler.status = status
    with pytest.raises(UnavailableError, match=r"the webhook at 127\.0\.0\.1 was not told"):
        await tell(ALERT, Sink(webhook=url))


async def test_a_command_gets_the_alert_on_its_input_and_no_shell(tmp_path: Path) -> None:
    kept = tmp_path / "it's $kept"
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    await tell(ALERT, Sink(command=(sys.executable, "-c", program, str(kept))))
    assert json.loads(kept.read_text())["device"] == ALERT.device


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("/nowhere/at/all",), "cannot be started"),
        (("/bin/sh", "-c", "exit 4"), "ended with status 4"),
    ],
)
async def test_a_command_that_fails_says_how(command: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(UnavailableError, match=sentence):
        await tell(ALERT, Sink(command=command))


async def test_nobody_is_told_when_nobody_is_named() -> None:
    await tell(ALERT, Sink())


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://x", "http://", "x"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InvalidInputError, match="a webhook is"):
        Sink(webhook=address)
