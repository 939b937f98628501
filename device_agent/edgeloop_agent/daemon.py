"""The running daemon: composition, readiness and stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
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
from edgeloop_protocol.types.isolation_tier import DEFAULT, TIERS
from edgeloop_protocol.types.run import Run

from edgeloop_agent import inventory
from edgeloop_agent.advertise import advertised, require_advertising
from edgeloop_agent.device_identity import DeviceIdentity
from edgeloop_agent.execution import ExecutionContext
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.listen import Listener, listener_for
from edgeloop_agent.memory import give_back_memory_after_job, settle_memory
from edgeloop_agent.server import Agent, Limits, StateLock
from edgeloop_agent.service_manager import ServiceManager
from edgeloop_agent.telemetry.options import TelemetryOptions

if TYPE_CHECKING:
    from edgeloop_profiles.fault_script import Fault

    from edgeloop_agent.board import RealBoard
    from edgeloop_agent.simulate.life import BoardLife

__all__ = ["DISK_THREADS", "execute_job", "serve"]

# Every thread costs a stack and keeps what it last touched; three keep a board's disk busy.
DISK_THREADS = 3
"""Threads for the disk, for all agents of a process together."""

_log = logging.getLogger(__name__)


def _listener(options: argparse.Namespace, identity: DeviceIdentity) -> Listener:
    return listener_for(
        socket_path=options.socket,
        address=options.listen,
        insecure_loopback=options.insecure_loopback,
        certificate=options.tls_certificate,
        key=options.tls_key,
        client_ca=options.tls_client_ca,
        enrolled=identity.material if identity.enrolled else None,
    )


def _agent(options: argparse.Namespace, state: Path, identity: DeviceIdentity) -> Agent | BoardLife:
    limits = Limits(reserve_bytes=options.reserve_bytes, store_bytes=options.store_bytes)
    telemetry = None
    if options.telemetry_period:
        telemetry = TelemetryOptions(period_s=options.telemetry_period, ring_bytes=options.telemetry_bytes)
    if options.simulate:
        return _simulated(options, state, limits, identity, telemetry)
    if options.faults:
        raise InvalidInputError("--faults is for a simulated board: this one has faults of its own.")
    return Agent(
        fs=OsFileSystem(),
        clock=SystemClock(),
        state_directory=state,
        board=_real_board(options, state),
        execute=execute_job,
        boot_id=inventory.boot_id(Path("/")),
        limits=limits,
        identity=identity,
        telemetry=telemetry,
        isolation=_policy(options),
    )


def _policy(options: argparse.Namespace) -> IsolationPolicy:
    return IsolationPolicy(tier=options.isolation, minimum=options.require_isolation)


def _real_board(options: argparse.Namespace, state: Path) -> RealBoard:
    from edgeloop_agent.board import RealBoard

    emulator = None
    emulation = Emulation.parse(options.emulate_memory, options.emulate_cpus, options.emulate_compute)
    if emulation is not None:
        from edgeloop_agent.emulate.emulator import Emulator

        emulator = Emulator(emulation)
    name = options.name or socket.gethostname()
    board = RealBoard(
        state, name, SystemProcesses(), Path("/"), emulator=emulator, isolation=_policy(options)
    )
    if options.meter:
        from edgeloop_agent.meters import open_meters

        board.attach_meters(open_meters(options.meter))
    return board


def _simulated(
    options: argparse.Namespace,
    state: Path,
    limits: Limits,
    identity: DeviceIdentity,
    telemetry: TelemetryOptions | None,
) -> BoardLife:
    from edgeloop_profiles import load_profile

    from edgeloop_agent.simulate.life import BoardLife

    if options.meter:
        raise InvalidInputError("--meter is for this board: a simulated one has no wires to measure.")
    if options.emulate_memory or options.emulate_cpus or options.emulate_compute:
        raise InvalidInputError("--emulate-... is for this machine: a simulated board has its own resources.")
    if not (0 <= options.pace < math.inf and 0 <= options.link_mbit < math.inf):
        raise InvalidInputError("--pace and --link-mbit are numbers from 0.")
    if options.isolation != DEFAULT or options.require_isolation != TIERS[0]:
        raise InvalidInputError(
            "--isolation and --require-isolation are for this board: a simulated one runs no model."
        )
    profile = load_profile(options.simulate)
    name = options.name or profile.name
    faults: tuple[Fault, ...] = ()
    if options.faults:
        from edgeloop_profiles.fault_script import check_script, draw_faults, load_faults

        script = load_faults(options.faults)
        check_script(script, [(name, profile, ())])
        faults = draw_faults(script, seed=options.seed, board=name, profile=profile.name)
    return BoardLife(
        profile=profile,
        seed=options.seed,
        name=name,
        state_directory=state,
        execute=execute_job,
        limits=limits,
        faults=faults,
        numerics=options.numerics,
        identity=identity,
        pace=options.pace,
        link_bits_per_s=options.link_mbit * 1e6,
        telemetry=telemetry,
    )


def _device_id(options: argparse.Namespace, state: Path) -> str:
    if not options.simulate:
        return inventory.device_id(OsFileSystem(), Path("/"), state)
    from edgeloop_profiles import load_profile

    profile = load_profile(options.simulate)
    return inventory.simulated_device_id(profile.name, options.seed, options.name or profile.name)


async def execute_job(context: ExecutionContext) -> tuple[Run, ...]:
    """Run a job; the benchmark's modules are loaded with the first one, an idle daemon does without."""
    from edgeloop_agent.execute import execute

    runs = await execute(context)
    # Here no measurement is disturbed: this job's is over, and the next one's waits for this job to end.
    await asyncio.to_thread(give_back_memory_after_job)
    return runs


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        EdgeloopError: an option cannot be used, or the board, the state directory or the address refuses.
    """

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk"))
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    if options.reserve_bytes < 0 or options.store_bytes <= 0:
        raise InvalidInputError("--reserve-bytes is not negative, and --store-bytes is above 0.")
    if options.advertise:
        require_advertising()
    state = options.state.absolute()
    identity = DeviceIdentity(OsFileSystem(), SystemClock(), state, SystemProcesses())
    listener = _listener(options, identity)
    lock = StateLock(state)
    agent = _agent(options, state, identity)
    address = await agent.start(listener)
    settle_memory()
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()
    manager = ServiceManager()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(manager.watched())
        if options.advertise:
            await stack.enter_async_context(
                advertised(
                    SystemProcesses(),
                    address=address,
                    name=options.name or options.simulate or socket.gethostname(),
                    device_id=_device_id(options, state),
                )
            )
        await asked_to_stop.wait()
    _log.info("stopping")
    await agent.stop()
    lock.release()
