"""Starts and ends the program that tells the local network about this agent; the daemon itself loads no zeroconf."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import AsyncIterator

from edgeloop_foundation.errors import UnsupportedError
from edgeloop_foundation.ports.process import ProcessPort

from edgeloop_agent import __version__

__all__ = ["advertised", "require_advertising"]

_STOP_S = 3.0
_SSH_PORT = 22

_log = logging.getLogger(__name__)


def require_advertising() -> None:
    """Refuse to start an agent that is to advertise and cannot.

    Raises:
        UnsupportedError: zeroconf is not installed.
    """
    if importlib.util.find_spec("zeroconf") is None:
        raise UnsupportedError(
            "--advertise needs the package zeroconf.",
            next_step="Install edgeloop[discovery] here, or leave --advertise out.",
        )


def _where(address: str) -> tuple[str, str, str]:
    """Return how, at which address and at which port an agent is reached; the address is empty for all."""
    if address.startswith("unix:"):
        return "ssh", "", str(_SSH_PORT)
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return "tls", "" if host in ("0.0.0.0", "::", "") else host, port  # noqa: S104 - compared, not bound


@contextlib.asynccontextmanager
async def advertised(
    processes: ProcessPort, *, address: str, name: str, device_id: str
) -> AsyncIterator[None]:
    """Have the agent advertised meanwhile; when that fails, the agent serves on and its log says so.

    Args:
        processes: starts the program.
        address: where the agent listens.
        name: for people.
        device_id: tells adverts of one name apart.
    """
    via, host, port = _where(address)
    argv = (
        *(sys.executable, "-I", "-m", "edgeloop_agent.discover", "--name", name, "--id", device_id),
        *("--port", port, "--via", via, "--version", __version__, *(("--address", host) if host else ())),
    )
    child = await processes.spawn(argv, {"PATH": os.environ.get("PATH", os.defpath)})
    ending = asyncio.create_task(child.wait(), name="advert")
    stopping = False

    def tell(task: asyncio.Task[int]) -> None:
        if not stopping and not task.cancelled():
            _log.warning("nobody is told of this agent any more: %s", child.log_tail()[-300:].strip())

    ending.add_done_callback(tell)
    try:
        yield
    finally:
        stopping = True
        with contextlib.suppress(ConnectionError):
            await child.write(b"q")
        done, _ = await asyncio.wait({ending}, timeout=_STOP_S)
        if not done:
            child.kill()
            await ending
