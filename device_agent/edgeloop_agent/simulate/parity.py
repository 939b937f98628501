"""Parity on a simulated board: a real runner of this machine, because numerics are not predicted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from edgeloop_protocol.types.run import Isolation

from edgeloop_agent.board import Reply, RunnerSession

__all__ = ["ParitySession"]


class ParitySession:
    """A real runner that says whose numerics it has."""

    def __init__(self, runner: RunnerSession, version: str) -> None:
        self._runner, self._version = runner, version

    @property
    def isolation(self) -> Isolation:
        """What keeps the real runner in."""
        return self._runner.isolation

    @property
    def pid(self) -> int | None:
        """No process of the simulated board."""
        return None

    async def request(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Pass the command on; the version in the answer names the simulated runtime and the real one.

        Raises:
            RunnerFailure: as the real runner.
        """
        reply = await self._runner.request(command, arguments, timeout_s)
        if "runtime_version" not in reply.header:
            return reply
        both = f"{self._version} (simulated; numerics of {reply.header['runtime_version']} on the host)"
        return dataclasses.replace(reply, header={**reply.header, "runtime_version": both})

    def log_tail(self) -> str:
        """Return the last lines that the real runner wrote."""
        return self._runner.log_tail()

    async def close(self) -> None:
        """Kill the real runner."""
        await self._runner.close()
