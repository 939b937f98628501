"""The processes of a simulated fleet: started, found again by their locks, and ended."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeloop_foundation.errors import DeadlineError, UnavailableError
from edgeloop_foundation.locks import is_locked

from edgeloop.transport.local import AGENT_ENVIRONMENT, LAUNCH

__all__ = ["HostProcesses", "find_hosts", "log_path", "stop_hosts"]

_READY_S = 120.0
_STOP_S = 30.0
_POLL_S = 0.02

# Referred to until our own end: to the library, a process that is forgotten while it runs is a mistake.
_DETACHED: list[subprocess.Popen[bytes]] = []


def log_path(directory: Path, part: int) -> Path:
    """Return where a process of a fleet writes what it has to say."""
    return directory / f"host-{part}.log"


def find_hosts(directory: Path, process_count: int) -> tuple[int | None, ...]:
    """Return the number of each process of a fleet; None where it does not run.

    A process holds a lock for as long as it lives, so that a number that the system gave to another program meanwhile
    is never taken for it.
    """
    return tuple(_holder(directory / f"host-{part}.lock") for part in range(process_count))


def _holder(lock: Path) -> int | None:
    if not is_locked(lock):
        return None
    text = lock.read_text().strip()
    return int(text) if text.isdigit() else None


def stop_hosts(directory: Path, process_count: int) -> int:
    """End every process of a fleet, wait until it is gone, and return how many there were; politely, then not.

    Raises:
        DeadlineError: one does not end.
    """
    found = {pid: handle for part in range(process_count) for pid, handle in _handles(directory, part)}
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _STOP_S
            alive = [handle for handle in found.values() if not _ended(handle, 0)]
            for handle in alive:
                signal.pidfd_send_signal(handle, number)
            if all(_ended(handle, deadline - time.monotonic()) for handle in alive):
                return len(found)
    finally:
        for handle in found.values():
            os.close(handle)
    raise DeadlineError(
        f"the processes {', '.join(map(str, found))} of the fleet in {directory} do not end.",
        next_step="See whether the disk still answers.",
    )


def _handles(directory: Path, part: int) -> Iterator[tuple[int, int]]:
    """Yield number and handle of a process that holds its lock; the handle means no other process, ever."""
    lock = directory / f"host-{part}.lock"
    pid = _holder(lock)
    if pid is None:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    if _holder(lock) == pid:
        yield pid, handle
    else:
        os.close(handle)


def _ended(handle: int, patience_s: float) -> bool:
    return bool(select.select([handle], [], [], max(0.0, patience_s))[0])


class HostProcesses:
    """Processes that were started here and now."""

    def __init__(self, directory: Path, plan: Path, process_count: int, *, detached: bool) -> None:
        """Start them.

        Args:
            directory: of the fleet.
            plan: what they serve.
            process_count: how many there are.
            detached: whether they outlive this process, whatever ends it.
        """
        self._directory = directory
        parent = 0 if detached else os.getpid()
        self._processes = [self._start(plan, part, parent) for part in range(process_count)]
        if detached:
            _DETACHED.extend(self._processes)

    def _start(self, plan: Path, part: int, parent: int) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-c",
            LAUNCH,
            str(parent),
            "host",
            "--fleet",
            str(plan),
            "--part",
            str(part),
        ]
        with log_path(self._directory, part).open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **AGENT_ENVIRONMENT},
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until every one of them serves its boards.

        Raises:
            UnavailableError: one ended instead; the sentence has its last words.
            DeadlineError: it takes too long.
        """
        try:
            self._await_words(time.monotonic() + _READY_S)
        finally:
            for process in self._processes:
                if process.stdout is not None:
                    process.stdout.close()

    def _await_words(self, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            for part, process in enumerate(self._processes):
                if process.stdout is not None:
                    selector.register(process.stdout, selectors.EVENT_READ, part)
            while selector.get_map():
                events = selector.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    raise DeadlineError(
                        f"the fleet in {self._directory} was not ready within {_READY_S:.0f} s.",
                        next_step=f"See {log_path(self._directory, 0)}.",
                    )
                for key, _ in events:
                    self._hear(key.data)
                    selector.unregister(key.fileobj)

    def _hear(self, part: int) -> None:
        stdout = self._processes[part].stdout
        line = stdout.readline() if stdout is not None else b""
        if not line.startswith(b"ready "):
            self._processes[part].wait(_STOP_S)
            raise UnavailableError(
                f"process {part} of the fleet ended: {_last_words(log_path(self._directory, part))}",
                next_step=f"See {log_path(self._directory, part)}.",
            )

    def ended(self) -> Sequence[int]:
        """Return which of them have ended."""
        return [part for part, process in enumerate(self._processes) if process.poll() is not None]

    def stop(self) -> None:
        """End them all, those that are not ready yet too."""
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        while len(self.ended()) < len(self._processes) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for process in self._processes:
            process.kill()
            process.wait()


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("edgeloop-agent: ")[:300] if lines else "it said nothing."
