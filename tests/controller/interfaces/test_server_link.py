"""One connection to a server, and interrupts on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from edgeloop.interfaces.server_link import ServerLink, server_address


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def link() -> Iterator[ServerLink]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        link = ServerLink(server_address(f"http://127.0.0.1:{server.server_port}", "token"))
        yield link
        link.close()
        server.shutdown()
        thread.join()


def test_an_interrupt_while_an_answer_is_closed_is_not_lost(
    link: ServerLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python drops what is raised in a finaliser, and one would close what nobody closed."""
    assert link.ask("GET", "here") == {}
    close = HTTPResponse.close

    def interrupted(answer: HTTPResponse) -> None:
        close(answer)
        raise KeyboardInterrupt

    monkeypatch.setattr(HTTPResponse, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        link.ask("GET", "here")
