"""Child processes that are coroutines: scripted, killable, and gone without a trace."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

from edgeloop_foundation.ports.process import LOG_BYTES, ChildProcess, printable

__all__ = ["ChildStreams", "Program", "SimulatedProcesses"]


class ChildStreams:
    """Standard input, output and error as the program sees them."""

    def __init__(self) -> None:
        self._input = asyncio.StreamReader()
        self._output = asyncio.StreamReader()
        self._log = bytearray()

    async def read_exactly(self, count: int) -> bytes:
        """Read from standard input.

        Raises:
            EOFError: it was closed before.
        """
        return await self._input.readexactly(count)

    def write(self, data: bytes) -> None:
        """Write to standard output."""
        self._output.feed_data(data)

    def log(self, text: str) -> None:
        """Write to standard error."""
        self._log += text.encode()
        del self._log[:-LOG_BYTES]


Program = Callable[[Sequence[str], Mapping[str, str], ChildStreams], Awaitable[int]]
"""``await program(argv, env, streams)`` returns the exit status; an exception is status 1, with a log."""


class _SimulatedChild:
    """A coroutine that looks like a child."""

    def __init__(self, pid: int, running: Callable[[ChildStreams], Awaitable[int]]) -> None:
        self._pid = pid
        self._streams = ChildStreams()
        self._task = asyncio.ensure_future(running(self._streams))
        self._task.add_done_callback(lambda _: self._streams._output.feed_eof())

    @property
    def pid(self) -> int:
        return self._pid

    async def write(self, data: bytes) -> None:
        if self._task.done():
            raise BrokenPipeError(f"child {self._pid} has ended")
        self._streams._input.feed_data(data)
        await asyncio.sleep(0)

    def close_input(self) -> None:
        self._streams._input.feed_eof()

    async def read_exactly(self, count: int) -> bytes:
        return await self._streams._output.readexactly(count)

    def log_tail(self) -> str:
        return printable(self._streams._log)

    def kill(self) -> None:
        self._task.cancel()

    async def wait(self) -> int:
        await asyncio.wait({self._task})
        return -signal.SIGKILL if self._task.cancelled() else self._task.result()


class SimulatedProcesses:
    """A ``ProcessPort`` whose programs are looked up by the first word of the command line.

    Args:
        programs: program by name.
    """

    def __init__(self, programs: Mapping[str, Program]) -> None:
        self._programs = dict(programs)
        self._pids = itertools.count(1000)

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        """Start a program.

        Raises:
            FileNotFoundError: no program of that name.
        """
        program = self._programs.get(argv[0])
        if program is None:
            raise FileNotFoundError(f"no program {argv[0]!r}")

        async def running(streams: ChildStreams) -> int:
            try:
                return await program(tuple(argv), dict(env), streams)
            except Exception as error:
                # The interpreter of a real child prints the exception and ends with status 1.
                streams.log(f"{type(error).__name__}: {error}\n")
                return 1

        return _SimulatedChild(next(self._pids), running)
