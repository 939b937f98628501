"""The tier "systemd": a runner in a hardened unit of the system's service manager, under an account of its own.

``edgeloop-runner.socket`` listens for the agent alone; each connection starts one ``edgeloop-runner@.service``, whose
program (``edgeloop_agent.runner.keeper``) starts the runner on that connection. It is tried once; where it is missing
or refuses, the runner starts without it and its record says why. Inside, a runner confines itself as ever.

The agent may not signal a process of another account: it hangs up, and the keeper kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_foundation.ports.process import LOG_BYTES, ChildProcess, printable
from edgeloop_foundation.within import within

from edgeloop_agent.enclosure import outer_namespaces
from edgeloop_agent.frames import encode_frame
from edgeloop_agent.readable_tree import ReadableTree
from edgeloop_agent.tried_once import TriedOnce

__all__ = ["SOCKET", "RunnerUnit"]

SOCKET = Path("/run/edgeloop-runner/socket")
"""Where the unit listens."""

_PREFIX = os.path.realpath(sys.prefix)
_RUNNER = (sys.executable, "-I", "-m", "edgeloop_agent.runner")
# Its directories are those of the unit, and an engine cache cannot be shared with an account of one run.
_NOT_PASSED = ("HOME", "TMPDIR", "EDGELOOP_ENGINE_CACHE")
_CONNECT_S, _START_S, _LOG_S = 5.0, 20.0, 0.5
_STREAM_LIMIT = 1 << 20
_ENDED = (
    "edgeloop-runner@.service ended before it answered; its log says why: journalctl -u 'edgeloop-runner@*'"
)


class RunnerUnit:
    """Starts runners of one agent in their unit.

    Args:
        state: the agent's directory: the way to an artifact below it is opened while its runner lives.
        path: the unit's socket.
    """

    def __init__(self, state: Path, path: Path = SOCKET) -> None:
        self._path, self._tree = path, ReadableTree(state)
        self._tried = TriedOnce(self._try)

    async def refusal(self) -> str:
        """Return why it cannot be used here; empty when it can."""
        return await self._tried.refusal()

    async def _try(self) -> str:
        try:
            said, calls = await self._call({"trial": True, "options": [], "environment": {}})
        except OSError as error:
            return f"systemd: {error}"
        calls.close()
        return "" if said.get("ready") is True else f"systemd: {_refused(said)}"

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
        try:
            said, calls = await self._call({"options": list(argv[len(_RUNNER) :]), "environment": passed})
            if not isinstance(said.get("pid"), int):
                calls.close()
                raise OSError(_refused(said))
        except BaseException:
            await asyncio.to_thread(self._tree.close, readable)
            raise
        return _Runner(said["pid"], calls, lambda: self._tree.close(readable))

    async def _call(self, request: dict[str, object]) -> tuple[dict[str, Any], _Calls]:
        """Send a request and return the first answer, empty when none came."""
        calls = await _Calls.make(self._path, {**request, "prefix": _PREFIX})
        try:
            return await within(calls.said(), _START_S), calls
        except asyncio.TimeoutError:
            calls.close()
            raise OSError(f"{self._path}: nothing answered within {_START_S:.0f} s") from None
        except BaseException:
            calls.close()
            raise


def _refused(said: dict[str, Any]) -> str:
    return str(said.get("refused") or _ENDED)


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
    async def make(cls, path: Path, request: dict[str, object]) -> _Calls:
        """Connect and hand over the request with the two descriptors.

        Raises:
            OSError: nothing listens, or the agent is not let in.
        """
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            connection = await asyncio.to_thread(
                _connect, path, encode_frame(request), [write, theirs.fileno()]
            )
        except BaseException:
            ours.close()
            os.close(read)
            raise
        finally:
            theirs.close()
            os.close(write)
        loop, log = asyncio.get_running_loop(), asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(log), os.fdopen(read, "rb")
        )
        return cls(
            await asyncio.open_unix_connection(sock=connection, limit=_STREAM_LIMIT),
            await asyncio.open_unix_connection(sock=ours),
            (log, transport),
        )

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


def _connect(path: Path, message: bytes, descriptors: list[int]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(path))
        sent = socket.send_fds(connection, [message], descriptors)
        connection.sendall(message[sent:])
    except (BrokenPipeError, ConnectionResetError) as error:
        connection.close()
        raise OSError(_ENDED) from error
    except OSError as error:
        connection.close()
        raise OSError(f"{path}: {error.strerror or error}") from error
    connection.setblocking(False)
    return connection


class _Runner:
    """A runner in the unit, as ``ChildProcess`` has it."""

    def __init__(self, pid: int, calls: _Calls, on_end: Any) -> None:
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
            await asyncio.to_thread(self._on_end)
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
