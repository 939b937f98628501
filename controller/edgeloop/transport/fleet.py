"""A board of a running fleet of simulated boards: its agent lives in one of the fleet's processes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import UnavailableError

from edgeloop.transport.base import Transport
from edgeloop.transport.client import AgentClient
from edgeloop.transport.rpc.channel import open_channel

__all__ = ["FleetTransport"]


class FleetTransport(Transport):
    """Connects to the Unix socket that the fleet's plan gives to the board; starts and ends nothing."""

    name: ClassVar[str] = "fleet"

    async def _open(self) -> AgentClient:
        socket = Path(self.spec.address)
        if not socket.parent.is_dir():
            raise UnavailableError(
                f"device {self.spec.name}: its fleet is down, there is no directory {socket.parent}.",
                next_step="Start it again: edgeloop sim up.",
            )
        # No look at the socket itself: a board that a fault has switched off has none, and comes back.
        return AgentClient(open_channel(f"unix:{socket}"), device=self.spec.name)
