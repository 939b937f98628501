"""This machine as a device: starts the real agent as a child, on a Unix socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, ClassVar

from edgeloop_foundation.errors import (
    BusyError,
    DeadlineError,
    InvalidInputError,
    UnavailableError,
)
from edgeloop_foundation.locks import try_lock
from edgeloop_foundation.within import within
from edgeloop_protocol.convert import digest_of
from edgeloop_protocol.types.emulation import Emulation

from edgeloop.transport.base import Transport
from edgeloop.transport.client import AgentClient
from edgeloop.transport.rpc.channel import open_channel

__all__ = ["AGENT_ENVIRONMENT", "LAUNCH", "SOCKET_PATH_BYTES", "LocalTransport", "file_name"]

SOCKET_PATH_BYTES = 103
"""Longest path of a socket; sun_path holds 108 bytes with the final zero, and a simulated wire needs one more."""

_READY_S = 30.0
# Options of the emulated resources, in the order in which they are read.
_EMULATED = ("memory", "cpus", "compute")
_STOP_S = 5.0
_LOG_TAIL_BYTES = 4096
_EXIT_USAGE = 2

AGENT_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "ORT_DISABLE_TELEMETRY": "1",
    "ORT_TELEMETRY_DISABLED": "1",
    "PYTHONUNBUFFERED": "1",
}
"""The agent decides nothing by these; they keep its memory small and the telemetry of onnxruntime off."""

# The agent asks the kernel for a SIGTERM at the end of its parent, whatever ends that; nothing runs between
# fork and exec for it. The check afterwards is for a parent that ended before the request.
LAUNCH = """
import ctypes, os, runpy, signal, sys
parent = int(sys.argv.pop(1))
if parent:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the controller ended before its agent began.")
sys.path = [entry for entry in sys.path if entry]
runpy.run_module("edgeloop_agent", run_name="__main__", alter_sys=True)
"""
"""Program that starts an agent: its first argument is the parent whose end it shares, or 0; the rest is the agent's."""


class LocalTransport(Transport):
    """Starts ``edgeloop-agent`` on this machine and ends it at the end.

    The agent's state (its store above all) stays under the controller's home by device name.
    With ``memory``, ``cpus`` or ``compute`` its runners are held in that much of the machine: another device, whose
    records say that they were measured under emulated resources (see ``edgeloop_protocol.types.emulation``).
    One controller at a time: a second one is refused with the number of the process that is there.
    """

    name: ClassVar[str] = "local"
    option_names: ClassVar[frozenset[str]] = frozenset(
        {"compute", "cpus", "memory", "ready_timeout_s", "reserve_bytes", "store_bytes"}
    )

    _process: asyncio.subprocess.Process | None = None
    _lock: IO[str] | None = None
    _short_directory: Path | None = None

    def _agent_options(self) -> list[str]:
        """Return what is given to the agent beyond its state, socket and name."""
        options: list[str] = []
        for option in ("reserve_bytes", "store_bytes"):
            if value := self.option(option):
                options += [f"--{option.replace('_', '-')}", value]
        for option in _EMULATED:
            if value := self.option(option):
                options += [f"--emulate-{option}", value]
        return options

    def _state_name(self) -> str:
        """Return the name of the agent's directory; with other limits it is another device's.

        Raises:
            InvalidInputError: a limit is none of the allowed ones.
        """
        try:
            emulation = Emulation.parse(*(self.option(name) for name in _EMULATED))
        except InvalidInputError as error:
            raise InvalidInputError(f"device {self.spec.name}: {error}") from error
        name = file_name(self.spec.name)
        return name if emulation is None else f"{name}.emulated-{digest_of(emulation)[:8]}"

    async def _open(self) -> AgentClient:
        timeout_s = self._ready_timeout_s()
        home = self.state_directory.absolute() / "agents" / self._state_name()
        socket = self._prepare(home)
        log = home / "agent.log"
        self._process = await self._start(home / "state", socket, log)
        await self._wait_until_ready(self._process, log, timeout_s)
        process = self._process
        return AgentClient(
            open_channel(f"unix:{socket}"),
            device=self.spec.name,
            diagnose=lambda: _obituary(process, log),
        )

    def _ready_timeout_s(self) -> float:
        text = self.option("ready_timeout_s")
        try:
            return float(text) if text else _READY_S
        except ValueError as error:
            raise InvalidInputError(
                f"device {self.spec.name}: ready_timeout_s is a number of seconds, not {text!r}."
            ) from error

    def _prepare(self, home: Path) -> Path:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(home / "lock", self.spec.name)
        socket = home / "agent.sock"
        if len(os.fsencode(socket)) > SOCKET_PATH_BYTES:
            self._short_directory = Path(tempfile.mkdtemp(prefix="edgeloop-"))
            socket = self._short_directory / "agent.sock"
        # We hold the lock, so that nobody serves there: it is what a killed agent left behind.
        socket.unlink(missing_ok=True)
        return socket

    async def _start(self, state: Path, socket: Path, log: Path) -> asyncio.subprocess.Process:
        command = [sys.executable, "-c", LAUNCH, str(os.getpid()), "serve"]
        command += ["--state", str(state), "--socket", str(socket), "--name", self.spec.name]
        # It lives for one verb, which measures: nothing is sampled beside that.
        command += ["--telemetry-period", "0"]
        command += self._agent_options()
        with log.open("wb") as errors:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **AGENT_ENVIRONMENT},
                # Ctrl-C is for the controller: it cancels the job and gives the lease back first.
                start_new_session=True,
            )

    async def _wait_until_ready(
        self, process: asyncio.subprocess.Process, log: Path, timeout_s: float
    ) -> None:
        if process.stdout is None:
            raise UnavailableError(f"{self.spec.name}: its agent has no standard output.")
        try:
            line = await within(process.stdout.readline(), timeout_s)
        except asyncio.TimeoutError as error:
            raise DeadlineError(
                f"{self.spec.name}: its agent was not ready within {timeout_s:g} s.",
                next_step=f"See {log}.",
            ) from error
        if line.startswith(b"ready "):
            return
        if not line:
            # The agent answers wrong options, for example an unknown profile, with this status.
            wrong_use = await process.wait() == _EXIT_USAGE
            kind = InvalidInputError if wrong_use else UnavailableError
            raise kind(f"{self.spec.name}: {_obituary(process, log)}", next_step=f"See {log}.")
        raise UnavailableError(
            f"{self.spec.name}: its agent said {line[:200]!r} instead of being ready.",
            next_step=f"See {log}.",
        )

    async def _close(self) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                await _stop(process)
        finally:
            if self._short_directory is not None:
                shutil.rmtree(self._short_directory, ignore_errors=True)
                self._short_directory = None
            lock, self._lock = self._lock, None
            if lock is not None:
                lock.close()


def file_name(name: str) -> str:
    """Return a flat file name for any device name; different names stay different."""
    flat = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".")[:64]
    if flat == name and flat:
        return flat
    return f"{flat}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _take_lock(path: Path, device: str) -> IO[str]:
    """Lock a file for as long as it is open; a killed controller lets go of it too."""
    file = path.open("a+")
    # The agent of a controller that was killed a moment ago may still be on its way out.
    for attempt in range(2):
        if try_lock(file.fileno()):
            break
        if attempt == 0:
            time.sleep(0.05)
            continue
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise BusyError(
            f"device {device} is in use by another edgeloop process (number {holder}).",
            next_step="Wait for it, or start one agent for both and name it unix:PATH.",
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _obituary(process: asyncio.subprocess.Process, log: Path) -> str:
    """Return how the agent ended and what it said last; empty while it lives."""
    if process.returncode is None:
        return ""
    how = f"with status {process.returncode}"
    if process.returncode < 0:
        how = f"by {signal.Signals(-process.returncode).name}"
    lines = [line for line in _tail(log).splitlines() if line.strip()]
    said = f": {lines[-1].strip()[:300].rstrip('.')}" if lines else ""
    return f"its agent ended {how}{said}."


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return "".join(c for c in text if c == "\n" or c.isprintable())


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the agent: politely, then not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await within(process.wait(), _STOP_S)
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
