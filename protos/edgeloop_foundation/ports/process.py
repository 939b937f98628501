"""Child processes: started by exec, never forked; killed as a group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["ChildProcess", "ProcessPort", "SystemProcesses"]


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
        """Start a program in a process group of its own with exactly this environment."""
        ...


_LOG_BYTES = 16 * 1024


class _Child:
    """An asyncio child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._log = bytearray()
        self._pump = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        stream = self._process.stderr
        assert stream is not None  # spawned with a pipe
        while chunk := await stream.read(4096):
            self._log += chunk
            del self._log[:-_LOG_BYTES]

    @property
    def pid(self) -> int:
        return self._process.pid

    async def write(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # spawned with a pipe
        stdin.write(data)
        await stdin.drain()

    async def read_exactly(self, count: int) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None  # spawned with a pipe
        return await stdout.readexactly(count)

    def log_tail(self) -> str:
        text = self._log.decode("utf-8", "replace")
        return "".join(c for c in text if c == "\n" or c.isprintable())

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        status = await self._process.wait()
        # A grandchild may hold the pipe open for ever; the log is not worth waiting for.
        await asyncio.wait({self._pump}, timeout=0.5)
        self._pump.cancel()
        return status


class SystemProcesses:
    """Children of this machine."""

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        """Start a program with pipes on all three streams."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            limit=1 << 20,
        )
        return _Child(process)
