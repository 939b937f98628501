"""What a runner finds refused when it tries what it must not do; a layer that nobody tried holds nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from edgeloop_agent.runner.sandbox.kernel import call
from edgeloop_agent.runner.sandbox.syscalls import Architecture

__all__ = ["CALLS", "ENCLOSED", "FILES", "UNIT", "probe", "probe_account"]

CALLS = ("no_exec", "no_network", "no_processes", "no_ptrace", "no_signals", "no_sockets")
"""Layers of the tier "seccomp"."""

FILES = ("no_read_outside", "no_write_outside")
"""Layers that the tier "unprivileged" has on top."""

ENCLOSED = ("own_files", "own_processes")
"""Layers that the tier "bubblewrap" has on top: namespaces that are not the agent's."""

UNIT = ("agent_hidden", "own_account", "own_files", "own_network")
"""Layers that the tier "systemd" has on top: another account too, to which the agent's process is not shown."""

_REFUSED = (errno.EACCES, errno.EPERM)
# Within an enclosure what may not be reached is not there, and nothing can be made where it would be.
_NOT_THERE = (errno.ENOENT, errno.EROFS)
_PASSWORDS = Path("/etc/passwd")
_PTRACE_ATTACH = 16
_DISCARD_PORT = 9


def probe(
    architecture: Architecture | None, outside: Path | None, parent_pid: int, *, enclosed: bool = False
) -> dict[str, bool]:
    """Try each forbidden thing and return the layers with whether it was refused.

    Args:
        architecture: numbers of the calls; None where no table is known.
        outside: a directory of the agent's that is none of the runner's business; None leaves files untried.
        parent_pid: the agent's process; 0 when there is none to try.
        enclosed: whether files outside are to be absent, where they may not be reached.
    """
    return {
        "no_exec": _is_refused(lambda: os.execv("/nonexistent", ["/nonexistent"])),  # noqa: S606
        "no_network": _has_no_network(),
        "no_processes": _is_refused(_fork),
        "no_ptrace": architecture is not None and _is_refused(lambda: _attach(architecture)),
        "no_signals": bool(parent_pid) and _is_refused(lambda: os.kill(parent_pid, 0)),
        "no_sockets": _is_refused(_make_socket),
        "no_read_outside": outside is not None
        and _is_refused(lambda: os.close(os.open(_PASSWORDS, os.O_RDONLY)), absent=enclosed)
        and _is_closed(outside, enclosed=enclosed),
        "no_write_outside": outside is not None and _is_refused(lambda: _write(outside), absent=enclosed),
        "no_capabilities": _capabilities() == 0,
    }


def probe_account(parent_pid: int) -> dict[str, bool]:
    """Return whether this process is of another account than its agent, and whether that one is shown to it.

    To be asked before this process confines itself, which refuses every signal: the kernel lets one of the same
    account, whatever user namespace it is in, signal the agent.
    """
    return {
        "own_account": parent_pid > 1 and _is_refused(lambda: os.kill(parent_pid, 0)),
        "agent_hidden": parent_pid > 1 and not Path("/proc", str(parent_pid)).exists(),
    }


def _is_refused(attempt: Callable[[], object], *, absent: bool = False) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno in _REFUSED or (absent and error.errno in _NOT_THERE)
    return False


def _is_closed(outside: Path, *, enclosed: bool) -> bool:
    """Return whether a directory of the agent's tells nothing: where it is made anew, it holds no file."""
    if _is_refused(lambda: os.scandir(outside).close(), absent=enclosed):
        return True
    if not enclosed:
        return False
    with os.scandir(outside) as entries:
        return all(entry.is_dir(follow_symlinks=False) for entry in entries)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _attach(architecture: Architecture) -> None:
    # There is no process 0 to attach to: a kernel that looks for it has not refused.
    call(architecture.numbers["ptrace"], _PTRACE_ATTACH, 0, None, None)


def _make_socket() -> None:
    from _socket import AF_INET, SOCK_STREAM, socket

    socket(AF_INET, SOCK_STREAM).close()


def _has_no_network() -> bool:
    """Return whether not even this machine can be reached: a port that refuses has been reached."""
    from _socket import AF_INET, SOCK_DGRAM, socket

    try:
        channel = socket(AF_INET, SOCK_DGRAM)
    except OSError as error:
        return error.errno in _REFUSED
    try:
        channel.connect(("127.0.0.1", _DISCARD_PORT))
    except OSError as error:
        return error.errno in (errno.ENETUNREACH, *_REFUSED)
    finally:
        channel.close()
    return False


def _write(outside: Path) -> None:
    path = outside / f".probe-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    path.unlink()


def _capabilities() -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return None
