"""Connections to a real SSH server: whom they trust, what they carry, how they break."""

from __future__ import annotations

import hashlib
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest
from edgeloop.transport.ssh_link import connection as room
from edgeloop.transport.ssh_link.trust import UnknownHostKeyError, fingerprint, own_file
from edgeloop_foundation.errors import (
    AccessDeniedError,
    CorruptDataError,
    DeadlineError,
    StateError,
    UnauthenticatedError,
    UnavailableError,
)


def test_an_unknown_key_is_refused_before_we_log_in(server: Any, connect_to: Any) -> None:
    with pytest.raises(UnknownHostKeyError, match="SHA256:") as caught:
        connect_to(server).open()
    assert fingerprint(server.key) in str(caught.value)
    assert server.logins == 0


def test_a_known_key_lets_us_in(server: Any, connect_to: Any, known_hosts: Path) -> None:
    known_hosts.write_text(server.known_line)
    connection = connect_to(server)
    connection.open()
    output = connection.run("cat; echo bad >&2; exit 3", stdin=b"word\n")
    assert (output.status, output.stdout, output.stderr) == (3, "word\n", "bad\n")


@pytest.mark.parametrize("known", [True, False])
def test_a_changed_key_is_a_hard_stop_whatever_is_pinned(
    known: bool, make_server: Any, connect_to: Any, known_hosts: Path
) -> None:
    server, other = make_server(), paramiko.ECDSAKey.generate()
    line = f"[127.0.0.1]:{server.port} {other.get_name()} {other.get_base64()}\n"
    known_hosts.write_text(line if known else "")
    pin = fingerprint(server.key) if known else fingerprint(other)
    connection = connect_to(server, pin=pin)
    with pytest.raises(UnauthenticatedError, match="another one than"):
        connection.open()
    assert server.logins == 0
    assert connection.vouched_key is None


def test_a_key_of_another_kind_counts_as_changed(server: Any, connect_to: Any, known_hosts: Path) -> None:
    other = paramiko.RSAKey.generate(2048)
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {other.get_name()} {other.get_base64()}\n")
    with pytest.raises(UnauthenticatedError):
        connect_to(server, pin=fingerprint(server.key)).open()
    assert server.logins == 0


def test_a_revoked_key_is_refused_even_when_it_is_known(
    server: Any, connect_to: Any, known_hosts: Path
) -> None:
    known_hosts.write_text(
        server.known_line + f"@revoked * {server.key.get_name()} {server.key.get_base64()}\n"
    )
    with pytest.raises(UnauthenticatedError, match="revoked"):
        connect_to(server).open()


def test_a_pinned_key_is_remembered_in_our_file_alone(
    server: Any, connect_to: Any, known_hosts: Path, tmp_path: Path
) -> None:
    connection = connect_to(server, pin=fingerprint(server.key))
    connection.open()
    assert not own_file(tmp_path / "home").exists(), "nothing is written before it is asked for"
    connection.remember_key()
    assert known_hosts.read_text() == ""
    again = connect_to(server)
    again.open()
    assert again.alive


def test_a_jump_host_leads_there_and_must_be_known_itself(
    make_server: Any, connect_to: Any, known_hosts: Path
) -> None:
    jump, board = make_server(), make_server()
    with pytest.raises(UnauthenticatedError, match="jump host") as caught:
        connect_to(jump, board, pin=fingerprint(jump.key)).open()
    assert not isinstance(caught.value, UnknownHostKeyError), "nobody may be asked about it"
    known_hosts.write_text(jump.known_line)
    connection = connect_to(jump, board, pin=fingerprint(board.key))
    connection.open()
    connection.run("true")
    assert (jump.logins, board.logins) == (1, 1)
    assert len(board.commands) == 1
    assert jump.commands == []


def test_who_is_not_let_in_is_told_how(server: Any, connect_to: Any, known_hosts: Path) -> None:
    known_hosts.write_text(server.known_line)
    server.client_key = paramiko.ECDSAKey.generate()
    with pytest.raises(UnauthenticatedError, match="ssh-copy-id"):
        connect_to(server).open()


def test_nobody_there(server: Any, connect_to: Any) -> None:
    server.stop()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        connect_to(server).open()


@pytest.fixture
def connection(server: Any, connect_to: Any, known_hosts: Path) -> Any:
    known_hosts.write_text(server.known_line)
    connection = connect_to(server)
    connection.open()
    return connection


def test_a_failed_command_says_its_last_words(connection: Any) -> None:
    with pytest.raises(StateError, match=r"making tea failed: no water$"):
        connection.check("echo one; echo no water >&2; exit 1", what="making tea")


def test_a_command_that_does_not_end(connection: Any) -> None:
    with pytest.raises(DeadlineError, match=r"within 0\.5 s"):
        connection.run("sleep 20", timeout_s=0.5)


def test_a_file_arrives_whole_and_is_not_sent_twice(connection: Any, server: Any) -> None:
    data, seen = bytes(range(256)) * 4096, list[int]()
    assert connection.put(data, "file", mode=0o640, on_bytes=lambda done, total: seen.append(done)) == len(
        data
    )
    assert (server.home / "file").read_bytes() == data
    assert (server.home / "file").stat().st_mode & 0o777 == 0o640
    assert not (server.home / "file.part").exists()
    assert seen == sorted(seen)
    assert seen[-1] == len(data)
    assert connection.put(data, "file") == 0


def test_a_file_goes_on_where_it_stopped(connection: Any, server: Any) -> None:
    data = hashlib.sha256(b"seed").digest() * 40_000
    (server.home / "file.part").write_bytes(data[:1_000_001])
    assert connection.put(data, "file") == len(data) - 1_000_001
    assert (server.home / "file").read_bytes() == data


@pytest.mark.parametrize("rest", [b"something else", b"longer than what is sent" * 10_000])
def test_what_was_left_of_another_file_is_not_taken(rest: bytes, connection: Any, server: Any) -> None:
    (server.home / "file.part").write_bytes(rest)
    data = b"the content" * 1000
    connection.put(data, "file")
    assert (server.home / "file").read_bytes() == data


def test_a_file_that_never_arrives_right_is_an_error(connection: Any, server: Any) -> None:
    (server.home / "file.part").mkdir()
    with pytest.raises((CorruptDataError, UnavailableError)):
        connection.put(b"x", "file")
    assert not (server.home / "file").exists()


def test_a_break_in_the_middle_keeps_what_was_sent(
    connection: Any, server: Any, connect_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PIECE_BYTES", 64 * 1024)
    data = hashlib.sha256(b"other").digest() * 100_000
    part = server.home / "file.part"

    def cut(done: int, total: int) -> None:
        if done > total // 2:
            # The client is far ahead of the server: it breaks once a part is really there.
            give_up = time.monotonic() + 30
            while not part.exists() or part.stat().st_size < total // 4:
                assert time.monotonic() < give_up, "the server got nothing"
                time.sleep(0.01)
            server.drop()

    with pytest.raises(UnavailableError, match="what was sent is kept"):
        connection.put(data, "file", on_bytes=cut)
    again = connect_to(server)
    again.open()
    sent = again.put(data, "file")
    assert (server.home / "file").read_bytes() == data
    assert sent <= len(data) - len(data) // 4


def test_a_large_file_passes_through_little_memory(connection: Any, server: Any, tmp_path: Path) -> None:
    size = 24 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        assert connection.put(tmp_path / "large", "large") == size
        # The server of the test is in this process, too.
        assert tracemalloc.get_traced_memory()[1] < size // 2
    finally:
        tracemalloc.stop()
    assert (server.home / "large").stat().st_size == size


def test_the_cipher_that_authenticates_by_itself_comes_first(connection: Any) -> None:
    transport = connection._chain[-1].transport
    assert transport.local_cipher == transport.remote_cipher == "aes128-gcm@openssh.com"
    assert "aes128-ctr" in transport.get_security_options().ciphers, "older servers have no other"


def test_forbidden_forwarding_says_which_setting(connection: Any, server: Any) -> None:
    server.forwarding = False
    with pytest.raises(AccessDeniedError, match="AllowStreamLocalForwarding"):
        connection.open_socket("/run/agent.sock")


def test_a_server_that_calls_a_forbidden_socket_a_failed_one(
    connection: Any, server: Any, tmp_path: Path
) -> None:
    server.refusal = paramiko.OPEN_FAILED_CONNECT_FAILED
    server.forwarding = False
    path = tmp_path / "agent.sock"
    with pytest.raises(UnavailableError, match="nobody listens"):
        connection.open_socket(str(path))
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen()
        with pytest.raises(AccessDeniedError, match="AllowStreamLocalForwarding"):
            connection.open_socket(str(path))


def test_closed_is_closed(connection: Any) -> None:
    connection.close()
    connection.close()
    with pytest.raises(UnavailableError):
        connection.run("true")


def test_making_a_hop_needs_no_file_of_fabric(
    server: Any,
    connect_to: Callable[..., Any],
    known_hosts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".fabric.yaml").write_text("user: mallory\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    known_hosts.write_text(server.known_line)
    connection = connect_to(server)
    connection.open()
    assert connection._chain[-1].user == "pi"
