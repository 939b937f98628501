"""Reads the request logs that serving processes keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeloop_foundation.errors import NotFoundError
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.deployment import check_deployment_name

__all__ = ["DIRECTORY", "remove_request_log", "request_log_lines"]

DIRECTORY = "request_logs"
"""Below the agent's state directory."""

_CHUNK_BYTES = 256 << 10


def _paths(state: Path, name: str) -> list[Path]:
    return [state / DIRECTORY / f"{check_deployment_name(name)}.{part}" for part in ("old", "new")]


def remove_request_log(fs: FileSystem, state: Path, name: str) -> None:
    """Remove what an earlier process has left of a deployment's log."""
    for path in _paths(state, name):
        if fs.exists(path):
            fs.remove(path)


def request_log_lines(fs: FileSystem, state: Path, name: str) -> Iterator[bytes]:
    """Yield whole lines, the oldest first, some at a time.

    Raises:
        NotFoundError: no log is kept for a deployment of that name.
    """
    found = [path for path in _paths(state, name) if fs.exists(path)]
    if not found:
        raise NotFoundError(
            f"no requests of {name!r} are logged on this device.",
            next_step="Serve it with --request-log SIZE; lines come after some seconds.",
        )
    for path in found:
        left = b""
        for chunk in fs.read_chunks(path, 0, _CHUNK_BYTES):
            whole, line_end, left = (left + chunk).rpartition(b"\n")
            if line_end:
                yield whole + line_end
