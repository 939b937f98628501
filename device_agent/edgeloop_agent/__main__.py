"""``edgeloop-agent serve``: starts the agent, prints ``ready ADDRESS``, stops on SIGTERM.

Exit status: 0 stopped as asked, 1 the agent failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError

from edgeloop_agent import __version__
from edgeloop_agent.memory import limit_heap

if TYPE_CHECKING:
    from edgeloop_agent.board import Board
    from edgeloop_agent.listen import Listener

__all__ = ["main"]

_EXIT_FAILED = 1
_EXIT_USAGE = 2
# Every thread costs a stack; four keep a disk busy.
_THREADS = 4

_log = logging.getLogger("edgeloop_agent")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgeloop-agent", description="The on-device part of edgeloop.")
    parser.add_argument("--version", action="version", version=f"edgeloop-agent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve this board, or a simulated one, until SIGTERM")
    add = serve.add_argument
    add("--state", type=Path, required=True, help="directory for blobs, results, leases and jobs")
    add("--socket", type=Path, help="listen on this Unix socket, open to this user only")
    add("--listen", default="", metavar="HOST:PORT", help="listen on TCP; port 0 lets the system choose")
    add("--tls-certificate", type=Path, help="the agent's certificate chain, PEM")
    add("--tls-key", type=Path, help="its private key, PEM")
    add("--tls-client-ca", type=Path, help="authority of the clients' certificates, PEM")
    add("--insecure-loopback", action="store_true", help="TCP without TLS, on loopback only")
    add("--name", default="", help="name for people; the host's name, or the profile's")
    add("--simulate", default="", metavar="PROFILE", help="stand on a simulated board instead of this one")
    add("--seed", type=int, default=0, help="seed of the simulated board's noise")
    add("--reserve-bytes", type=int, default=128 << 20, help="space kept free for results")
    add("--store-bytes", type=int, default=8 << 30, help="most that blobs may take")
    return parser


def _listener(options: argparse.Namespace) -> Listener:
    from edgeloop_agent.listen import listener_for

    return listener_for(
        socket=options.socket,
        address=options.listen,
        insecure_loopback=options.insecure_loopback,
        certificate=options.tls_certificate,
        key=options.tls_key,
        client_ca=options.tls_client_ca,
    )


def _board(options: argparse.Namespace, state: Path) -> Board:
    from edgeloop_foundation.ports.process import SystemProcesses

    processes = SystemProcesses()
    if options.simulate:
        from edgeloop_agent.simulate import SimulatedBoard

        return SimulatedBoard(
            options.simulate, options.seed, options.name or options.simulate, state, processes
        )
    from edgeloop_agent.board import RealBoard

    return RealBoard(state, options.name or socket.gethostname(), processes, Path("/"))


async def _serve(options: argparse.Namespace) -> None:
    from edgeloop_foundation.ports.clock import SystemClock
    from edgeloop_foundation.ports.fs import OsFileSystem

    from edgeloop_agent import inventory
    from edgeloop_agent.execute import execute
    from edgeloop_agent.server import Agent, Limits, StateLock

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
        execute=execute,
        boot_id=inventory.boot_id(Path("/")),
        limits=Limits(reserve_bytes=options.reserve_bytes, store_bytes=options.store_bytes),
    )
    address = await agent.start(listener)
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()
    await asked_to_stop.wait()
    _log.info("stopping")
    await agent.stop()
    lock.release()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    limit_heap()
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_serve(options))
    except InvalidInputError as error:
        sys.stderr.write(f"edgeloop-agent: {error}\n")
        return _EXIT_USAGE
    except (EdgeloopError, OSError) as error:
        sys.stderr.write(f"edgeloop-agent: {error}\n")
        return _EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
