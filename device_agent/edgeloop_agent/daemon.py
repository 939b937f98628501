"""The running daemon: composition, readiness and stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_protocol.types.emulation import Emulation
from edgeloop_protocol.types.run import Run

from edgeloop_agent import inventory
from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.listen import Listener, listener_for
from edgeloop_agent.memory import give_back_memory
from edgeloop_agent.server import Agent, Limits, StateLock

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["serve"]

# Every thread costs a stack and keeps what it last touched; three keep a board's disk busy.
_THREADS = 3

_log = logging.getLogger(__name__)


def _listener(options: argparse.Namespace) -> Listener:
    return listener_for(
        socket_path=options.socket,
        address=options.listen,
        insecure_loopback=options.insecure_loopback,
        certificate=options.tls_certificate,
        key=options.tls_key,
        client_ca=options.tls_client_ca,
    )


def _board(options: argparse.Namespace, state: Path) -> Board:
    processes = SystemProcesses()
    if options.simulate and options.meter:
        raise InvalidInputError("--meter is for this board: a simulated one has no wires to measure.")
    emulation = Emulation.parse(options.emulate_memory, options.emulate_cpus, options.emulate_compute)
    if options.simulate and emulation is not None:
        raise InvalidInputError("--emulate-... is for this machine: a simulated board has its own resources.")
    if options.simulate:
        from edgeloop_profiles import load_profile

        from edgeloop_agent.simulate import SimulatedBoard

        profile = load_profile(options.simulate)
        name = options.name or profile.name
        return SimulatedBoard(profile, options.seed, name, state, processes, options.numerics)
    from edgeloop_agent.board import RealBoard

    emulator = None
    if emulation is not None:
        from edgeloop_agent.emulate.emulator import Emulator

        emulator = Emulator(emulation)
    name = options.name or socket.gethostname()
    board = RealBoard(state, name, processes, Path("/"), emulator=emulator)
    if options.meter:
        from edgeloop_agent.meters import open_meters

        board.attach_meters(open_meters(options.meter))
    return board


async def _execute(context: ExecutionContext) -> tuple[Run, ...]:
    """Run a job; the benchmark's modules are loaded with the first one, an idle daemon does without."""
    from edgeloop_agent.execute import execute

    return await execute(context)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        EdgeloopError: an option cannot be used, or the board, the state directory or the address refuses.
    """

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="disk"))
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    if options.reserve_bytes < 0 or options.store_bytes <= 0:
        raise InvalidInputError("--reserve-bytes is not negative, and --store-bytes is above 0.")
    listener = _listener(options)
    state = options.state.absolute()
    lock = StateLock(state)
    agent = Agent(
        fs=OsFileSystem(),
        clock=SystemClock(),
        state_directory=state,
        board=_board(options, state),
        execute=_execute,
        boot_id=inventory.boot_id(Path("/")),
        limits=Limits(reserve_bytes=options.reserve_bytes, store_bytes=options.store_bytes),
    )
    address = await agent.start(listener)
    give_back_memory()
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()
    await asked_to_stop.wait()
    _log.info("stopping")
    await agent.stop()
    lock.release()
