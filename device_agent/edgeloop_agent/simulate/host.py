"""One process that serves part of a fleet of simulated boards: the same agents, one event loop, one set of threads."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from edgeloop_foundation.errors import BusyError, NotFoundError
from edgeloop_foundation.locks import try_lock
from edgeloop_profiles import load_profile
from edgeloop_profiles.fault_script import draw_faults, load_faults
from edgeloop_profiles.fleet_file import BoardPlan, FleetPlan
from edgeloop_protocol.convert import from_json

from edgeloop_agent.daemon import DISK_THREADS, execute_job
from edgeloop_agent.listen import UnixListener
from edgeloop_agent.memory import keep_memory
from edgeloop_agent.server import StateLock
from edgeloop_agent.simulate.life import BoardLife

__all__ = ["serve"]

T = TypeVar("T")

# Enough to keep the disk busy; more would only hold more directories half read.
_AT_ONCE = 8

_log = logging.getLogger(__name__)


async def serve(options: argparse.Namespace) -> None:
    """Serve the boards of one part of the plan until SIGTERM or SIGINT.

    Raises:
        EdgeloopError: the plan cannot be read, somebody serves this part already, or a board cannot start.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk"))
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    plan = _read_plan(options.fleet)
    directory = options.fleet.absolute().parent
    lock = _take_part(directory / f"host-{options.part}.lock", options.part)
    _raise_descriptor_limit()
    boards = plan.boards[options.part :: plan.process_count]
    lives = _lives(plan, boards, directory)
    locks = [StateLock(directory / "boards" / board.name / "state") for board in boards]
    try:
        await _each(
            zip(boards, lives, strict=True),
            lambda pair: pair[1].start(UnixListener(path=Path(pair[0].socket))),
        )
        keep_memory()
        sys.stdout.write(f"ready {len(lives)} boards\n")
        sys.stdout.flush()
        await asked_to_stop.wait()
    finally:
        await _each(lives, _stop)
        for held in locks:
            held.release()
        os.close(lock)


def _read_plan(path: Path) -> FleetPlan:
    try:
        return from_json(path.read_bytes(), FleetPlan)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no plan {path}.", next_step="Start fleets by: edgeloop sim up."
        ) from error


def _take_part(path: Path, part: int) -> int:
    """Hold a lock with our number in it for as long as we live: it tells who serves this part."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if not try_lock(descriptor):
        os.close(descriptor)
        raise BusyError(f"another process serves part {part} of this fleet.")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _raise_descriptor_limit() -> None:
    """Allow as many files as the system lets us: a board listens, holds a lock and has its clients."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _lives(plan: FleetPlan, boards: Sequence[BoardPlan], directory: Path) -> list[BoardLife]:
    profiles = {name: load_profile(name) for name in {board.profile for board in boards}}
    script = load_faults(Path(plan.faults)) if plan.faults else None
    return [
        BoardLife(
            profile=profiles[board.profile],
            seed=board.seed,
            name=board.name,
            state_directory=directory / "boards" / board.name / "state",
            execute=execute_job,
            faults=draw_faults(
                script,
                seed=plan.seed,
                board=board.name,
                profile=profiles[board.profile].name,
                labels=board.labels,
            )
            if script
            else (),
        )
        for board in boards
    ]


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do something for every item, several at a time; the first error is raised once all have ended."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> None:
        async with limit:
            await work(item)

    ends = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


async def _stop(life: BoardLife) -> None:
    try:
        await life.stop()
    except Exception:
        _log.exception("a board did not stop in good order")
