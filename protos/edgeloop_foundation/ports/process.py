"""Child processes: started by exec, never forked; killed as a group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["LOG_BYTES", "ChildProcess", "ProcessPort", "SystemProcesses", "printable"]


class ChildProcess(Protocol):
    """A running child with pipes on its standard streams."""

    @property
    def pid(self) -> int:
        """Process identifier."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes to its standard input.

        Raises:
            ConnectionError: it reads no more.
        """
        ...

    def close_input(self) -> None:
        """End its standard input; ended already is no error."""
        ...

    async def read_exactly(self, count: int) -> bytes:
        """Read from its standard output.

        Raises:
            EOFError: it ended before ``count`` bytes came.
        """
        ...

    def log_tail(self) -> str:
        """Return the last 16 KiB that it wrote to standard error, control characters removed."""
        ...

    def kill(self) -> None:
        """Kill it and everything it started (SIGKILL to its process group); dead already is no error."""
        ...

    async def wait(self) -> int:
        """Wait for its end and return the exit status; minus the signal number when a signal ended it."""
        ...


class ProcessPort(Protocol):
    """Starts children."""

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        """Start a program in a process group of its own with exactly this environment.

        Raises:
            OSError: it cannot be started, for example FileNotFoundError.
        """
        ...


LOG_BYTES = 16 * 1024
"""How much of what a child writes to standard error is kept."""


_STREAM_LIMIT = 1 << 20


def printable(log: bytes | bytearray) -> str:
    """Return a log as text without control characters, line ends excepted."""
    return "".join(c for c in log.decode("utf-8", "replace") if c == "\n" or c.isprintable())


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Tells when the child itself has ended.

    ``Process.wait`` of some Python versions also waits for the pipes, which a grandchild may hold for ever.
    """

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit, loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class _Child:
    """An asyncio child."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: _Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._process = asyncio.subprocess.Process(transport, protocol, asyncio.get_running_loop())
        self._log = bytearray()
        self._pump = asyncio.create_task(self._drain())
        self._killed = self._waited_for = False

    async def _drain(self) -> None:
        stream = self._process.stderr
        assert stream is not None  # spawned with a pipe
        while chunk := await stream.read(4096):
            self._log += chunk
            del self._log[:-LOG_BYTES]

    @property
    def pid(self) -> int:
        return self._process.pid

    async def write(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # spawned with a pipe
        stdin.write(data)
        await stdin.drain()

    def close_input(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # spawned with a pipe
        stdin.close()

    async def read_exactly(self, count: int) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None  # spawned with a pipe
        return await stdout.readexactly(count)

    def log_tail(self) -> str:
        return printable(self._log)

    def kill(self) -> None:
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._waited_for:
            self._transport.close()

    async def wait(self) -> int:
        await self._protocol.exited.wait()
        # The log is not worth waiting for when a grandchild holds the pipe.
        _, unfinished = await asyncio.wait({self._pump}, timeout=0.5)
        if unfinished:
            self._pump.cancel()
        self._waited_for = True
        # Who kills reads no more: its pipes may end after the loop does.
        if unfinished or self._killed:
            self._transport.close()
        status = self._transport.get_returncode()
        assert status is not None  # it has exited
        return status


class SystemProcesses:
    """Children of this machine."""

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        """Start a program with pipes on all three streams."""
        pipe = asyncio.subprocess.PIPE
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: _Protocol(_STREAM_LIMIT, loop),
            *argv,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        return _Child(transport, protocol)
