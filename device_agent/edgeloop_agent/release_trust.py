"""Releases verified by the program that may: the daemon hands it the bundle and believes its answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.deployment import ReleaseBundle, ReleaseTerms

from edgeloop_agent.deployments import Accepted
from edgeloop_agent.helper_program import ask_program

__all__ = ["ReleaseTrust"]


class ReleaseTrust:
    """The trust state of one device, reached through ``edgeloop_agent.trust``; one question at a time."""

    def __init__(self, state: Path, processes: ProcessPort) -> None:
        self._arguments = ("--state", str(state))
        self._processes = processes
        self._one_at_a_time = asyncio.Lock()

    async def pin(self, root: str) -> bool:
        """Trust a root from now on; return False when it was pinned before.

        Raises:
            EdgeloopError: it does not hold, or the device trusts another one.
        """
        async with self._one_at_a_time:
            header = {"command": "pin", "root": root}
            reply = await ask_program(self._processes, "edgeloop_agent.trust", self._arguments, header)
        return reply.get("pinned_now") is True

    async def accept(self, name: str, bundle: ReleaseBundle) -> Accepted:
        """Verify a bundle and remember that it came.

        Raises:
            EdgeloopError: it does not hold.
        """
        async with self._one_at_a_time:
            header = {"command": "accept", "name": name, "bundle": to_json(bundle)}
            reply = await ask_program(self._processes, "edgeloop_agent.trust", self._arguments, header)
        return Accepted(
            digest=str(reply.get("digest", "")), terms=from_json(reply.get("terms"), ReleaseTerms)
        )
