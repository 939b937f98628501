"""The agent on a faulty disk: ``faulty_agent.py STATE SOCKET PLAN``; the composition of the daemon otherwise.

Prints ``ready`` when it serves, and ``counted`` with a number per kind when it was asked to stop. A plan for the
verifier is handed to that program; the agent's own disk is sound then, and what the verifier counted is printed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edgeloop_agent import inventory
from edgeloop_agent.board import RealBoard
from edgeloop_agent.daemon import DISK_THREADS, execute_job
from edgeloop_agent.listen import UnixListener
from edgeloop_agent.server import Agent, StateLock
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.process import ChildProcess, SystemProcesses

from scripts.heavy.faulty_disk import FaultyDisk, Plan

_VERIFIER = Path(__file__).with_name("faulty_verifier.py")


class VerifierOnFaultyDisk(SystemProcesses):
    """Starts the program that verifies releases on a disk of its own; all else as it is."""

    def __init__(self, plan: Plan, counted: Path) -> None:
        self._words = (str(_VERIFIER), json.dumps(asdict(plan)), str(counted))

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        """Start a program; of the verifier, the one with the faulty disk."""
        if "edgeloop_agent.trust" in argv:
            # What follows the name of the module is its own: --state DIRECTORY.
            argv = (argv[0], *self._words, *argv[list(argv).index("edgeloop_agent.trust") + 1 :])
        return await super().spawn(argv, env, cwd)


async def serve(state: Path, socket: Path, plan: Plan) -> None:
    """Serve until SIGTERM, or until the disk strikes."""
    loop, asked_to_stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk"))
    loop.add_signal_handler(signal.SIGTERM, asked_to_stop.set)
    counted = socket.with_name("verifier-counted")
    lock, disk = StateLock(state), FaultyDisk(Plan() if plan.verifier else plan)
    agent = Agent(
        fs=disk,
        clock=SystemClock(),
        state_directory=state,
        board=RealBoard(state, "board", SystemProcesses(), Path("/")),
        execute=execute_job,
        boot_id=inventory.boot_id(Path("/")),
        processes=VerifierOnFaultyDisk(plan, counted) if plan.verifier else None,
    )
    await agent.start(UnixListener(path=socket))
    # A second kill is meant for the recovery; it does not wait for later work.
    disk.arm(on=not plan.from_start)
    print("ready", flush=True)
    await asked_to_stop.wait()
    told = counted.read_text() if counted.exists() else json.dumps(disk.counts)
    print(f"counted {told}", flush=True)
    disk.arm(on=False)
    await agent.stop()
    lock.release()


if __name__ == "__main__":
    _state, _socket, _plan = sys.argv[1:]
    asyncio.run(serve(Path(_state), Path(_socket), Plan(**json.loads(_plan))))
