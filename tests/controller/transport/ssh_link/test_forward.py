"""A socket here that ends at a socket there, breaks included."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from edgeloop.transport.ssh_link.forward import SocketForward


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Path]:
    """Return a Unix socket that sends back what it gets."""
    path = tmp_path / "echo.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve(client: socket.socket) -> None:
        while data := client.recv(1 << 16):
            client.sendall(data)
        client.close()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def forward(server: Any, connect_to: Any, known_hosts: Path, echo: Path) -> Iterator[SocketForward]:
    known_hosts.write_text(server.known_line)
    connection = connect_to(server)
    connection.open()
    forward = SocketForward(connection, str(echo))
    yield forward
    forward.close()


def exchange(path: Path, data: bytes) -> bytes:
    """Send data while reading what comes back; an end in between is an empty answer."""

    def send() -> None:
        # The reader below sees how it ended.
        with contextlib.suppress(OSError):
            client.sendall(data)

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        threading.Thread(target=send, daemon=True).start()
        got = bytearray()
        try:
            while len(got) < len(data) and (piece := client.recv(1 << 16)):
                got += piece
        except OSError:
            return b""
        return bytes(got)


def test_bytes_go_there_and_back(forward: SocketForward) -> None:
    data = bytes(range(256)) * 8192
    assert exchange(forward.path, data) == data
    assert forward.path.parent.stat().st_mode & 0o077 == 0


def test_after_a_break_it_connects_anew(forward: SocketForward, server: Any) -> None:
    assert exchange(forward.path, b"one") == b"one"
    server.drop()
    end = time.monotonic() + 10
    while exchange(forward.path, b"two") != b"two":
        assert time.monotonic() < end
    assert server.logins == 2
    assert forward.hopeless() == ""


def test_a_key_that_changed_in_between_is_hopeless(forward: SocketForward, server: Any) -> None:
    assert exchange(forward.path, b"one") == b"one"
    server.key = paramiko.ECDSAKey.generate()
    server.drop()
    end = time.monotonic() + 10
    while not forward.hopeless():
        assert exchange(forward.path, b"two") == b""
        assert time.monotonic() < end
    assert "another one than the known one" in forward.hopeless()
    assert server.logins == 1


def test_forbidden_forwarding_is_hopeless(forward: SocketForward, server: Any) -> None:
    server.forwarding = False
    assert exchange(forward.path, b"one") == b""
    assert "AllowStreamLocalForwarding" in forward.hopeless()


def test_nothing_is_left_after_the_end(forward: SocketForward) -> None:
    assert exchange(forward.path, b"one") == b"one"
    forward.close()
    assert not forward.path.parent.exists()
