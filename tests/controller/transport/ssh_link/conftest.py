"""The SSH server of the tests, for this room."""

from tests.controller.transport.ssh_fixtures import (
    client_key,
    connect_to,
    hop_to,
    known_hosts,
    make_server,
    server,
)

__all__ = ["client_key", "connect_to", "hop_to", "known_hosts", "make_server", "server"]
