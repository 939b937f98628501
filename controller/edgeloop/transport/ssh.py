"""The agent of a board, reached through its SSH server: nothing of it listens on the network."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeloop_foundation.errors import MissingDependencyError, UnavailableError

from edgeloop.transport.base import Transport
from edgeloop.transport.client import AgentClient
from edgeloop.transport.rpc.channel import open_channel
from edgeloop.transport.ssh_link.connection import SshConnection
from edgeloop.transport.ssh_link.forward import SocketForward
from edgeloop.transport.ssh_link.route import resolve_route

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec

__all__ = ["SshTransport", "ssh_connection"]

_FIND_SOCKET = (
    'for path in /run/edgeloop/agent.sock "$HOME/.local/share/edgeloop/run/agent.sock"; do '
    'if [ -S "$path" ]; then echo "$path"; exit 0; fi; done; exit 1'
)


def ssh_connection(spec: DeviceSpec, home: Path, pin: str = "") -> SshConnection:
    """Return the connection that a device's address and options describe, not yet open.

    Raises:
        MissingDependencyError: Fabric is not installed.
        InvalidInputError: the address cannot be read.
        UnsupportedError: the SSH configuration has a setting for it that cannot be honoured.
    """
    if importlib.util.find_spec("fabric") is None:
        raise MissingDependencyError(
            "boards are reached over SSH with Fabric, which is not installed.",
            next_step="Install it: pip install 'edgeloop[ssh]'",
        )
    options = dict(spec.options)
    config = options.get("ssh_config", "")
    route = resolve_route(
        spec.address,
        jump=options.get("jump", ""),
        key=options.get("key", ""),
        config_file=Path(config).expanduser() if config else None,
    )
    return SshConnection(route, home, pin=pin)


class SshTransport(Transport):
    """Connects to ``[USER@]HOST[:PORT]`` and there to the agent's Unix socket."""

    name: ClassVar[str] = "ssh"
    option_names: ClassVar[frozenset[str]] = frozenset({"jump", "key", "service", "socket", "ssh_config"})

    _connection: SshConnection | None = None
    _forward: SocketForward | None = None

    async def _open(self) -> AgentClient:
        connection = self._connection = ssh_connection(self.spec, self.state_directory)
        await asyncio.to_thread(connection.open)
        remote = self.option("socket") or await asyncio.to_thread(self._find_socket, connection)
        # Opened once before gRPC does, for a sentence that says why not.
        probe = await asyncio.to_thread(connection.open_socket, remote)
        await asyncio.to_thread(probe.close)
        forward = self._forward = SocketForward(connection, remote)
        return AgentClient(
            open_channel(f"unix:{forward.path}"),
            device=self.spec.name,
            address=f"{connection.label} {remote}",
            diagnose=forward.hopeless,
        )

    def _find_socket(self, connection: SshConnection) -> str:
        found = connection.run(_FIND_SOCKET)
        if found.status != 0:
            raise UnavailableError(
                f"device {self.spec.name}: no agent runs on {connection.label}.",
                next_step=f"Set it up: edgeloop device add {self.spec.address}",
            )
        return found.stdout.strip()

    async def _close(self) -> None:
        forward, self._forward = self._forward, None
        connection, self._connection = self._connection, None
        if forward is not None:
            await asyncio.to_thread(forward.close)
        if connection is not None:
            await asyncio.to_thread(connection.close)
