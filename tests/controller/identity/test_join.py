"""The listener for joining, as strangers meet it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.identity.authority import Authority
from edgeloop.identity.join import JoinListener
from edgeloop.identity.tokens import JoinTokens
from edgeloop_foundation.errors import DeadlineError, UnavailableError


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[JoinListener]:
    authority = Authority.create(tmp_path / "authority", "lab")
    tokens = JoinTokens(tmp_path / "tokens.json", time.time)
    with JoinListener(authority, tokens, "127.0.0.1", 0) as made:
        yield made


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_strangers_get_the_authority_and_nothing_else(listener: JoinListener) -> None:
    status, root = ask(listener.port, "GET", "/authority")
    assert (status, root) == (200, listener.root())
    assert ask(listener.port, "GET", "/tokens")[0] == 404
    made_up = {"token_id": "0" * 16, "secret": "1" * 32, "request_pem": "x"}
    for body in (b"", b"[]", b"{}", b"[" * 20_000, b"\xff"):
        assert ask(listener.port, "POST", "/join", body)[0] == 400
    assert ask(listener.port, "POST", "/join", json.dumps(made_up).encode())[0] == 403
    assert ask(listener.port, "POST", "/join", b"x", **{"Content-Length": "99999999"})[0] == 400
    assert ask(listener.port, "POST", "/other", b"{}")[0] == 400
    with pytest.raises(DeadlineError, match="no device joined"):
        listener.wait(0.01)


def test_a_silent_stranger_holds_nobody_up(listener: JoinListener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port)):
        assert ask(listener.port, "GET", "/authority")[0] == 200


def test_an_address_that_is_taken_is_told(listener: JoinListener, tmp_path: Path) -> None:
    tokens = JoinTokens(tmp_path / "tokens.json", time.time)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UnavailableError, match="cannot listen"),
    ):
        JoinListener(listener._authority, tokens, "127.0.0.1", taken.getsockname()[1])
