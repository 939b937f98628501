"""The life of one simulated board: its agent is started, and, when a fault ends it, started again on what is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.clock import Clock, SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_profiles.profile import Profile

from edgeloop_agent import inventory
from edgeloop_agent.device_identity import DeviceIdentity
from edgeloop_agent.execution import Execute
from edgeloop_agent.listen import Listener, UnixListener
from edgeloop_agent.server import Agent, Limits
from edgeloop_agent.simulate.board import SimulatedBoard

if TYPE_CHECKING:
    from edgeloop_profiles.fault_script import Fault

    from edgeloop_agent.simulate.fault_relay import FaultRelay
    from edgeloop_agent.simulate.faults import BoardFaults
    from edgeloop_agent.telemetry.options import TelemetryOptions

__all__ = ["FAULT_LOG", "BoardLife"]

FAULT_LOG = "faults.jsonl"
"""File in the state directory of a board that tells which faults happened."""

_log = logging.getLogger(__name__)


class _WallClock(SystemClock):
    """The agent's clock on a board whose wall time may be wrong; leases and deadlines go by the monotonic one."""

    def __init__(self, board: Clock) -> None:
        self._board = board

    def wall_s(self) -> float:
        return self._board.wall_s()


class BoardLife:
    """One simulated board with its agent; ``start``, then ``stop``, like the agent itself.

    Args:
        profile: what it simulates.
        seed: of its noise, and part of its identity.
        name: the device's name for people.
        state_directory: the agent's own; it survives every fault.
        execute: runs a job.
        limits: how much of the disk the agent uses.
        numerics: "isa" or "host", see ``simulate.parity``.
        identity: of the device on the network; None makes one of its own.
        faults: what goes wrong; without any, the agent stands on the real ports alone.
        pace: seconds of job time in one of wall time; 0 is as fast as it goes.
        link_bits_per_s: what the way to the board carries; 0 is as much as comes.
        telemetry: what sampling may cost; None for none.
    """

    def __init__(
        self,
        *,
        profile: Profile,
        seed: int,
        name: str,
        state_directory: Path,
        execute: Execute,
        limits: Limits | None = None,
        numerics: str = "isa",
        identity: DeviceIdentity | None = None,
        faults: Sequence[Fault] = (),
        pace: float = 0.0,
        link_bits_per_s: float = 0.0,
        telemetry: TelemetryOptions | None = None,
    ) -> None:
        self._profile, self._seed, self._name = profile, seed, name
        self._state_directory, self._execute, self._limits = state_directory, execute, limits
        self._numerics, self._identity = numerics, identity
        self._planned = tuple(faults)
        self._pace, self._link_bits_per_s, self._telemetry = pace, link_bits_per_s, telemetry
        self._link: FaultRelay | None = None
        self._faults: BoardFaults | None = None
        self._boot = 0
        self._agent: Agent | None = None
        self._restarts: asyncio.Queue[Fault] = asyncio.Queue()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self, listener: Listener) -> str:
        """Begin to serve and return the address that clients use.

        Raises:
            EdgeloopError: the address or the state directory cannot be used.
        """
        if not self._planned and not self._link_bits_per_s:
            self._agent = self._make_agent()
            return await self._agent.start(listener)
        if not isinstance(listener, UnixListener):
            raise InvalidInputError(
                "a board with faults or a slow link listens on a Unix socket only.", next_step="Use --socket."
            )
        self._inner = listener.path.with_name(listener.path.name + "~")
        if not self._planned:
            await self._boot_up()
            self._link = self._open_relay(listener.path, lambda size: 0.0)
            await self._link.open()
            return f"unix:{listener.path.absolute()}"
        self._faults = self._open_faults(listener.path)
        self._faults.pass_time(0)
        await self._boot_up()
        await self._faults.relay.open()
        self._faults.arm()
        self._keeper = asyncio.create_task(self._keep_alive(self._faults), name=f"life of {self._name}")
        return f"unix:{listener.path.absolute()}"

    def _open_relay(self, path: Path, on_bytes: Callable[[int], float]) -> FaultRelay:
        """Return the wire of the board; a slow link holds every message up by what its bits take."""
        from edgeloop_agent.simulate.fault_relay import FaultRelay

        rate = self._link_bits_per_s
        return FaultRelay(path, self._inner, lambda size: on_bytes(size) + (8 * size / rate if rate else 0.0))

    def _open_faults(self, path: Path) -> BoardFaults:
        from edgeloop_agent.simulate.faults import BoardFaults

        return BoardFaults(
            self._planned,
            log_path=self._state_directory / FAULT_LOG,
            relay=lambda on_bytes: self._open_relay(path, on_bytes),
            restart=self._restarts.put_nowait,
            loop=asyncio.get_running_loop(),
        )

    async def stop(self) -> None:
        """Stop for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._faults is not None:
            self._faults.disk.thaw()
        if self._agent is not None:
            await self._agent.stop()
        for relay in (self._link, self._faults.relay if self._faults else None):
            if relay is not None:
                await relay.close()

    def _make_agent(self) -> Agent:
        faults = self._faults
        board = SimulatedBoard(
            self._profile,
            self._seed,
            self._name,
            self._state_directory,
            SystemProcesses(),
            numerics=self._numerics,
            boot=self._boot,
            stress=faults.stress if faults else None,
            on_pass=faults.pass_time if faults else None,
            pace=self._pace,
        )
        return Agent(
            fs=faults.disk if faults else OsFileSystem(),
            clock=_WallClock(board.clock) if faults else SystemClock(),
            state_directory=self._state_directory,
            board=board,
            execute=self._execute,
            # A lease lives by this machine's clock, and ends with a boot of either of them.
            boot_id=f"{inventory.boot_id(Path('/'))}/{self._boot}",
            limits=self._limits,
            interceptors=(faults.interceptor(),) if faults else (),
            identity=self._identity,
            telemetry=self._telemetry,
        )

    async def _boot_up(self) -> None:
        self._inner.unlink(missing_ok=True)
        agent = self._make_agent()
        await agent.start(UnixListener(path=self._inner))
        self._agent = agent

    async def _keep_alive(self, faults: BoardFaults) -> None:
        """Let the agent end as each fault has it, and bring it back."""
        while True:
            fault = await self._restarts.get()
            try:
                await self._go_down(faults, fault)
                await asyncio.sleep(fault.rule.off_s)
                faults.begin_boot()
                await self._boot_up()
                await faults.relay.open()
            except Exception as error:
                # The next fault came before it was up again, and its turn is next; else this is the end of the board.
                _log.warning("%s did not come back after %s: %s", self._name, fault.rule.kind, error)

    async def _go_down(self, faults: BoardFaults, fault: Fault) -> None:
        kind, agent, self._agent = fault.rule.kind, self._agent, None
        if kind != "reboot":
            await faults.relay.close()
        if agent is not None:
            await (agent.stop() if kind == "reboot" else agent.stop(grace_s=0))
        await faults.relay.close()
        if kind == "power_loss":
            await asyncio.to_thread(faults.disk.lose_unsynced)
        if kind != "crash":
            self._boot += 1
