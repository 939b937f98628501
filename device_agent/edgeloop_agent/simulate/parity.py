"""Parity on a simulated board: a real runner of this machine, because numerics are not predicted.

With ``numerics=isa``, the default, the runner works out the 8-bit sums of the board's instruction set where they differ
from those of this machine: a check that passes here and fails on the board is the error that parity is there to find.
With ``numerics=host`` everything is this machine's, which is quicker for large models. The version in the record says
which it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from edgeloop_protocol.types.run import Isolation

from edgeloop_agent.board import Reply, RunnerSession

__all__ = ["ParitySession"]


class ParitySession:
    """A real runner that says whose numerics it has.

    Args:
        runner: the real one.
        version: of the simulated runtime.
        isa_tier: tier whose 8-bit arithmetic is worked out; empty for that of this machine.
    """

    def __init__(self, runner: RunnerSession, version: str, isa_tier: str = "") -> None:
        self._runner, self._version, self._isa_tier = runner, version, isa_tier

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
        if command == "open" and self._isa_tier:
            arguments = {**arguments, "isa_tier": self._isa_tier}
        reply = await self._runner.request(command, arguments, timeout_s)
        if "runtime_version" not in reply.header:
            return reply
        emulated = f", {words}" if (words := reply.header.get("numerics")) else ""
        both = f"{self._version} (simulated; numerics of {reply.header['runtime_version']} on the host{emulated})"
        return dataclasses.replace(reply, header={**reply.header, "runtime_version": both})

    def log_tail(self) -> str:
        """Return the last lines that the real runner wrote."""
        return self._runner.log_tail()

    async def close(self) -> None:
        """Kill the real runner."""
        await self._runner.close()
