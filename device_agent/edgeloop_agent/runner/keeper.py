"""Keeps one runner of the tier "systemd": started by the runner's unit with the agent's connection on descriptor 0.

It says that it is there and waits, however long it is held ready. The frame that comes says how the runner is to be
started, and brings two descriptors: where its log goes, and the status channel. The runner takes over the connection;
this process stays outside of its confinement, tells its identifier and how it ended on the status channel, and kills it
as soon as the agent hangs up there: the agent may not signal a process of another account. When this process ends,
systemd kills whatever is left in the unit.

It runs ``edgeloop_agent.runner`` of its own environment and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError

from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_agent.runner.sandbox.kernel import set_flag

__all__ = ["ENVIRONMENT", "check_request", "main"]

ENVIRONMENT = frozenset(
    {
        *("PATH", "LANG", "LD_LIBRARY_PATH", "ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"),
        *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"),
    }
)
"""What a runner may be told by its environment; its directories are those of the unit."""

_FIELDS = {"options", "environment"}
_REQUEST_S = 10.0
_PR_SET_DUMPABLE = 4
_EXIT_REFUSED = 2


def main() -> int:
    """Keep one runner and return the exit status: 0 unless the request was refused, or something else came."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        connection.sendall(encode_frame({"prefix": os.path.realpath(sys.prefix)}), socket.MSG_NOSIGNAL)
        if (received := _receive(connection)) is None:
            return 0
    except (EOFError, OSError, CorruptDataError) as error:
        sys.stderr.write(f"no request came: {error}\n")
        return _EXIT_REFUSED
    request, log, status = received
    try:
        options, environment = check_request(request)
        _keep(connection, log, status, options, environment)
    except (InvalidInputError, OSError) as error:
        _tell(status, {"refused": str(error)})
        return _EXIT_REFUSED
    return 0


def _receive(connection: socket.socket) -> tuple[dict[str, Any], int, socket.socket] | None:
    """Return the request, the descriptor of the log and the status channel; None when the agent wants no runner."""
    prefix, descriptors, _, _ = socket.recv_fds(connection, PREFIX.size, 2, socket.MSG_CMSG_CLOEXEC)
    if not prefix:
        return None
    connection.settimeout(_REQUEST_S)
    prefix += _exactly(connection, PREFIX.size - len(prefix))
    if len(descriptors) != 2:
        raise CorruptDataError(f"two descriptors come with a request, not {len(descriptors)}.")
    header_bytes, payload_bytes = decode_prefix(prefix)
    if payload_bytes:
        raise CorruptDataError("a request has no payload.")
    log, status = descriptors
    request = decode_header(_exactly(connection, header_bytes))
    connection.settimeout(None)
    return request, log, socket.socket(fileno=status)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        # Not a byte more: what follows is the runner's.
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError("the agent hung up")
        data += chunk
    return data


def check_request(request: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the options and the environment of a runner.

    Raises:
        InvalidInputError: the request asks for anything else.
    """
    if unknown := sorted(set(request) - _FIELDS):
        raise InvalidInputError(
            f"a request has no field {unknown[0]!r}: nothing but the runner is started here."
        )
    options, environment = request.get("options"), request.get("environment")
    if not _texts(options):
        raise InvalidInputError("the options of a runner are a list of texts.")
    if not isinstance(environment, dict) or not _texts(list(environment.values())):
        raise InvalidInputError("the environment of a runner is an object of texts.")
    if foreign := sorted(set(environment) - ENVIRONMENT):
        raise InvalidInputError(f"the environment of a runner has no {foreign[0]!r}.")
    return tuple(options or ()), {str(name): value for name, value in environment.items()}


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) and "\0" not in v for v in values)


def _keep(
    connection: socket.socket,
    log: int,
    status: socket.socket,
    options: tuple[str, ...],
    environment: dict[str, str],
) -> None:
    """Start the runner, tell of it, and return once it is dead."""
    scratch = Path(os.environ.get("TMPDIR", "/tmp"), f"edgeloop-runner-{os.getpid()}")  # noqa: S108 - the unit's own
    scratch.mkdir(mode=0o700)
    try:
        os.chdir(scratch)
        # A program of its own, so that it has exactly this environment, and nothing of what is open here.
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-m", "edgeloop_agent.runner", *options],
            {**environment, "HOME": str(scratch), "TMPDIR": str(scratch)},
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, connection.fileno(), number) for number in (0, 1)),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
        connection.close()
        os.close(log)
        _tell(status, {"pid": pid})
        # Of the same account as the runner: its memory is nobody's business.
        set_flag(_PR_SET_DUMPABLE, 0)
        _tell(status, {"status": _end_of(pid, status)})
    finally:
        os.chdir("/")
        shutil.rmtree(scratch, ignore_errors=True)


def _end_of(pid: int, status: socket.socket) -> int:
    """Return the exit status once the runner has ended by itself or the agent has hung up."""
    child = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(child, select.POLLIN)
    poll.register(status, select.POLLIN)
    if child not in (descriptor for descriptor, _ in poll.poll()):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, code = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(code)


def _tell(status: socket.socket, message: dict[str, object]) -> None:
    # An agent that is gone is told nothing.
    with contextlib.suppress(OSError):
        status.sendall(json.dumps(message).encode() + b"\n", socket.MSG_NOSIGNAL)


if __name__ == "__main__":
    sys.exit(main())
