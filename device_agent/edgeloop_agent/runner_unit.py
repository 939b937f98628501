"""The tier "systemd": a runner in a hardened unit of the system's service manager, under an account of its own.

``edgeloop-runner.socket`` listens for the agent alone; each connection starts one ``edgeloop-runner@.service``, whose
program (``edgeloop_agent.runner.keeper``) starts the runner on that connection. It is tried once; where it is missing
or refuses, the runner starts without it and its record says why. Inside, a runner confines itself as ever.

A unit takes far longer to start than a process does. One stands ready as a spare, whose keeper waits for what it is to
start: it is made where nothing is timed, and let go when no runner was wanted for a while.

The agent may not signal a process of another account: it hangs up, and the keeper kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.ports.process import LOG_BYTES, ChildProcess, printable
from edgeloop_foundation.within import within

from edgeloop_agent.enclosure import outer_namespaces
from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_agent.readable_tree import ReadableTree
from edgeloop_agent.tried_once import TriedOnce

__all__ = ["SOCKET", "RunnerUnit"]

_log = logging.getLogger(__name__)

SOCKET = Path("/run/edgeloop-runner/socket")
"""Where the unit listens."""

_PREFIX = os.path.realpath(sys.prefix)
_RUNNER = (sys.executable, "-I", "-m", "edgeloop_agent.runner")
# Its directories are those of the unit, and an engine cache cannot be shared with an account of one run.
_NOT_PASSED = ("HOME", "TMPDIR", "EDGELOOP_ENGINE_CACHE")
_CONNECT_S, _START_S, _LOG_S = 5.0, 20.0, 0.5
_SPARE_S = 60.0
_STREAM_LIMIT = 1 << 20
_ENDED = (
    "edgeloop-runner@.service ended before it answered; its log says why: journalctl -u 'edgeloop-runner@*'"
)


class RunnerUnit:
    """Starts runners of one agent in their unit.

    Args:
        state: the agent's directory: the way to an artifact below it is opened while its runner lives.
        path: the unit's socket.
        spare_s: how long a unit stands ready after the last runner has ended.
    """

    def __init__(self, state: Path, path: Path = SOCKET, *, spare_s: float = _SPARE_S) -> None:
        self._path, self._tree, self._spare_s = path, ReadableTree(state), spare_s
        self._tried = TriedOnce(self._try)
        self._spare: _Waiting | None = None
        self._letting_go: asyncio.TimerHandle | None = None
        self._making = asyncio.Lock()
        self._living_count = 0

    async def refusal(self) -> str:
        """Return why it cannot be used here; empty when it can."""
        return await self._tried.refusal()

    async def _try(self) -> str:
        async with self._making:
            return await self._make_spare()

    async def _make_spare(self) -> str:
        """Return why there is none; empty when a unit stands ready."""
        try:
            self._spare = await _open(self._path)
        except OSError as error:
            return f"systemd: {error}"
        self._let_go_later()
        return ""

    async def keep_spare(self) -> None:
        """Have a unit stand ready for the next runner; returns once it does, or cannot."""
        if await self.refusal():
            return
        async with self._making:
            if self._spare is None or self._spare.hung_up:
                self.let_go()
                if reason := await self._make_spare():
                    # The next runner tries again, and then it counts.
                    _log.warning("no unit stands ready: %s", reason)

    def let_go(self) -> None:
        """Let the unit that stands ready go, if there is one."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _let_go_later(self) -> None:
        if self._letting_go is not None:
            self._letting_go.cancel()
        if self._living_count == 0:
            self._letting_go = asyncio.get_running_loop().call_later(self._spare_s, self.let_go)

    async def _waiting(self) -> _Waiting:
        """Return a unit that waits for its runner: the spare, or a new one."""
        async with self._making:
            spare, self._spare = self._spare, None
        if spare is not None:
            if not spare.hung_up:
                return spare
            spare.close()
        return await _open(self._path)

    async def command(self, argv: Sequence[str], *, lacking: str = "") -> tuple[tuple[str, ...], bool]:
        """Return the command of a runner, told how it is started, and whether it is to be started in the unit.

        Args:
            argv: the command without that.
            lacking: why it is not to be there, whatever the unit can do; empty otherwise.
        """
        if reason := lacking or await self.refusal():
            return (*argv, "--lacking", reason), False
        return (*argv, "--enclosed", "--outer-namespaces", outer_namespaces()), True

    async def spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None = None,
        readable: Sequence[Path] = (),
    ) -> ChildProcess:
        """Start a runner in the unit; its home and working directory are of the unit's own.

        Args:
            argv: the runner's command.
            env: its environment.
            cwd: not used.
            readable: artifacts below the agent's directory that it reads.

        Raises:
            OSError: the unit cannot be reached, refuses, or ends before the runner has started.
        """
        if tuple(argv[: len(_RUNNER)]) != _RUNNER:
            raise PermissionError("nothing but the runner is started in its unit")
        passed = {name: value for name, value in env.items() if name not in _NOT_PASSED}
        await asyncio.to_thread(self._tree.open, readable)
        self._living_count += 1
        try:
            calls = await _Calls.make(
                await self._waiting(), {"options": list(argv[len(_RUNNER) :]), "environment": passed}
            )
            return _Runner(await calls.started(), calls, lambda: self._ended(readable))
        except BaseException:
            await self._ended(readable)
            raise

    async def _ended(self, readable: Sequence[Path]) -> None:
        self._living_count -= 1
        self._let_go_later()
        await asyncio.to_thread(self._tree.close, readable)


class _Calls:
    """The connection of one runner, its log, and the status channel of its keeper."""

    def __init__(
        self,
        frames: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        status: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        log: tuple[asyncio.StreamReader, asyncio.ReadTransport],
    ) -> None:
        self.source, self.sink = frames
        self._told, self._hang_up = status
        self.log, self._log_transport = log

    @classmethod
    async def make(cls, unit: _Waiting, request: dict[str, object]) -> _Calls:
        """Hand the request over with the two descriptors; the unit's connection is closed with them, or right away.

        Raises:
            OSError: the unit is gone.
        """
        message = encode_frame(request)
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            sent = socket.send_fds(unit.connection, [message], [write, theirs.fileno()])
            unit.sink.write(message[sent:])
        except OSError as error:
            unit.close()
            ours.close()
            os.close(read)
            raise OSError(_ENDED) from error
        finally:
            theirs.close()
            os.close(write)
        log = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(log), os.fdopen(read, "rb")
        )
        return cls(
            (unit.source, unit.sink),
            await asyncio.open_unix_connection(sock=ours),
            (log, transport),
        )

    async def started(self) -> int:
        """Return the process identifier of the runner.

        Raises:
            OSError: it was refused, or nothing came; all is closed.
        """
        try:
            said = await within(self.said(), _START_S)
            if isinstance(pid := said.get("pid"), int):
                return pid
            raise OSError(str(said.get("refused") or _ENDED))
        except BaseException as error:
            self.close()
            if isinstance(error, asyncio.TimeoutError):
                raise OSError(f"the unit did not start a runner within {_START_S:.0f} s") from None
            raise

    async def said(self) -> dict[str, Any]:
        """Return what the keeper says next; empty when it is gone."""
        with contextlib.suppress(ValueError, ConnectionError):
            line = await self._told.readline()
            said = json.loads(line) if line else {}
            return said if isinstance(said, dict) else {}
        return {}

    def hang_up(self) -> None:
        """Let the keeper kill."""
        with contextlib.suppress(OSError):
            self._hang_up.write_eof()

    def close(self) -> None:
        """Close all; safe to call twice."""
        self._log_transport.close()
        self._hang_up.close()
        self.sink.close()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A unit whose keeper waits for what it is to start."""

    connection: socket.socket
    source: asyncio.StreamReader
    sink: asyncio.StreamWriter

    @property
    def hung_up(self) -> bool:
        """Whether the keeper is gone: one that waits sends nothing."""
        try:
            self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Let it go."""
        self.sink.close()


async def _open(path: Path) -> _Waiting:
    """Start a unit and return it once its keeper waits.

    Raises:
        OSError: nothing listens, the agent is not let in, the unit cannot start or is of another version of the agent.
    """
    connection = await asyncio.to_thread(_connect, path)
    unit = _Waiting(connection, *await asyncio.open_unix_connection(sock=connection, limit=_STREAM_LIMIT))
    try:
        said = await within(_introduction(unit.source), _START_S)
        if said.get("prefix") != _PREFIX:
            raise OSError(
                f"the agent runs from {_PREFIX} and the runner's unit from {said.get('prefix')!r}: start the agent anew"
            )
        return unit
    except BaseException as error:
        unit.close()
        if isinstance(error, asyncio.TimeoutError):
            raise OSError(f"{path}: nothing answered within {_START_S:.0f} s") from None
        if isinstance(error, (EOFError, ConnectionError, CorruptDataError)):
            raise OSError(_ENDED) from error
        raise


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise OSError(f"{path}: {error.strerror or error}") from error
    connection.setblocking(False)
    return connection


async def _introduction(source: asyncio.StreamReader) -> dict[str, Any]:
    """Return the frame with which a keeper begins."""
    header_bytes, _ = decode_prefix(await source.readexactly(PREFIX.size))
    return decode_header(await source.readexactly(header_bytes))


class _Runner:
    """A runner in the unit, as ``ChildProcess`` has it."""

    def __init__(self, pid: int, calls: _Calls, on_end: Callable[[], Awaitable[None]]) -> None:
        self._pid, self._calls, self._on_end = pid, calls, on_end
        self._log = bytearray()
        self._killed = False
        self._pump = asyncio.create_task(self._drain(), name=f"log of {pid}")
        self._end = asyncio.create_task(self._await_end(), name=f"end of {pid}")

    async def _drain(self) -> None:
        while chunk := await self._calls.log.read(4096):
            self._log += chunk
            del self._log[:-LOG_BYTES]

    async def _await_end(self) -> int:
        try:
            status = (await self._calls.said()).get("status")
            # A keeper that is gone without a word was killed, and all in its unit with it.
            return status if isinstance(status, int) else -signal.SIGKILL
        finally:
            await self._on_end()
            if self._killed:
                self._calls.close()

    @property
    def pid(self) -> int:
        return self._pid

    async def write(self, data: bytes) -> None:
        self._calls.sink.write(data)
        await self._calls.sink.drain()

    def close_input(self) -> None:
        with contextlib.suppress(OSError):
            self._calls.sink.write_eof()

    async def read_exactly(self, count: int) -> bytes:
        return await self._calls.source.readexactly(count)

    def log_tail(self) -> str:
        return printable(self._log)

    def kill(self) -> None:
        self._killed = True
        if self._end.done():
            self._calls.close()
        else:
            self._calls.hang_up()

    async def wait(self) -> int:
        status = await asyncio.shield(self._end)
        await asyncio.wait({self._pump}, timeout=_LOG_S)
        return status
