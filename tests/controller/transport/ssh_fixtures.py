"""Fixtures around the SSH server of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from edgeloop.transport.ssh_link.connection import SshConnection
from edgeloop.transport.ssh_link.route import Hop

from tests.controller.transport.ssh_server import SshServer


@pytest.fixture(scope="session")
def client_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a private key that the servers accept."""
    path = tmp_path_factory.mktemp("keys") / "id_ecdsa"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path))
    return path


@pytest.fixture
def make_server(tmp_path: Path, client_key: Path) -> Iterator[Callable[[], SshServer]]:
    """Return a way to start servers that end with the test."""
    servers: list[SshServer] = []

    def make() -> SshServer:
        home = tmp_path / f"board{len(servers)}"
        home.mkdir()
        servers.append(SshServer(home, paramiko.ECDSAKey.from_private_key_file(str(client_key))))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def server(make_server: Callable[[], SshServer]) -> SshServer:
    return make_server()


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    """Return a file of known hosts, empty at first."""
    path = tmp_path / "known_hosts"
    path.touch()
    return path


@pytest.fixture
def hop_to(client_key: Path, known_hosts: Path) -> Callable[[SshServer], Hop]:
    return lambda server: Hop(
        host="127.0.0.1",
        port=server.port,
        user="pi",
        key_files=(str(client_key),),
        only_named_keys=True,
        known_hosts=(str(known_hosts),),
    )


@pytest.fixture
def connect_to(tmp_path: Path, hop_to: Callable[[SshServer], Hop]) -> Iterator[Callable[..., SshConnection]]:
    """Return a way to make connections, not yet open, that end with the test."""
    made: list[SshConnection] = []

    def make(*servers: SshServer, pin: str = "") -> SshConnection:
        made.append(SshConnection([hop_to(server) for server in servers], tmp_path / "home", pin=pin))
        return made[-1]

    yield make
    for connection in made:
        connection.close()
