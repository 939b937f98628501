"""Where runners of one agent are started: as plain children, within bubblewrap, or in the system's unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.ports.process import ChildProcess, ProcessPort

from edgeloop_agent.enclosure import Enclosure
from edgeloop_agent.runner_unit import RunnerUnit

__all__ = ["Place", "RunnerPlaces"]

_EMULATED = {
    "bubblewrap": "bubblewrap: the groups of emulated resources would hold the helper program alone",
    "systemd": "systemd: the groups of emulated resources cannot hold a process of another account",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How one runner is started."""

    #: Its command.
    argv: tuple[str, ...]
    #: What starts it.
    processes: ProcessPort
    #: Whether it is started by a helper program, which is then the child.
    enclosed: bool = False
    #: Whether it is in a unit and an account of its own.
    in_unit: bool = False

    def changed(self, argv: Sequence[str]) -> Place:
        """Return the same place with another command."""
        return dataclasses.replace(self, argv=tuple(argv))


@dataclass(frozen=True, slots=True)
class _InUnit:
    """Starts one runner that reads these artifacts."""

    unit: RunnerUnit
    readable: tuple[Path, ...]

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        return await self.unit.spawn(argv, env, cwd, self.readable)


class RunnerPlaces:
    """What there is to start runners in.

    Args:
        processes: starts children.
        tier: the strongest tier that the agent takes.
        state: the agent's directory.
        emulated: whether runners are held in emulated resources.
        unit: the system's unit; the one of an installed agent when not given.
    """

    def __init__(
        self,
        processes: ProcessPort,
        tier: str,
        state: Path,
        *,
        emulated: bool,
        unit: RunnerUnit | None = None,
    ) -> None:
        self._processes, self._tier = processes, tier
        self._lacking = _EMULATED.get(tier, "") if emulated else ""
        self._enclosure = Enclosure(processes)
        self._unit = unit or RunnerUnit(state)

    async def keep_spare(self) -> None:
        """Have a unit stand ready for the next runner, where runners are started in one; returns once it does."""
        if self._tier == "systemd" and not self._lacking:
            await self._unit.keep_spare()

    async def choose(self, argv: tuple[str, ...], scratch: Path, readable: tuple[Path, ...]) -> Place:
        """Return how a runner is started; where the helper cannot be had, it is told why.

        Args:
            argv: the command of a plain child.
            scratch: a directory of its own.
            readable: artifacts that it reads.
        """
        if self._tier == "systemd":
            told, in_unit = await self._unit.command(argv, lacking=self._lacking)
            if in_unit:
                return Place(argv=told, processes=_InUnit(self._unit, readable), in_unit=True)
            return Place(argv=told, processes=self._processes)
        if self._tier != "bubblewrap":
            return Place(argv=argv, processes=self._processes)
        told, enclosed = await self._enclosure.command(
            argv, readable=readable, writable=(scratch,), lacking=self._lacking
        )
        return Place(argv=told, processes=self._processes, enclosed=enclosed)
