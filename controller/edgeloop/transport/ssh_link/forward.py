"""A Unix socket on this machine whose connections end at a Unix socket on the board."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import (
    AccessDeniedError,
    EdgeloopError,
    UnauthenticatedError,
    UnavailableError,
)

from edgeloop.transport.ssh_link.connection import SshConnection

__all__ = ["SocketForward"]

_PIECE_BYTES = 256 * 1024
_BACK_OFF_S = 0.5
_BACK_OFF_MAX_S = 10.0


class SocketForward:
    """Passes connections on, each over a channel of its own; connects anew after a break, with jitter.

    The socket is in a directory that only this user can enter.
    """

    def __init__(self, connection: SshConnection, remote: str) -> None:
        self._connection = connection
        self._remote = remote
        self._directory = Path(tempfile.mkdtemp(prefix="edgeloop-ssh-"))
        #: Where to connect to on this machine.
        self.path = self._directory / "agent.sock"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(16)
        self._lock = threading.Lock()
        self._closed = False
        self._failures = 0
        self._not_before = 0.0
        self._ends: set[Any] = set()
        self._last: EdgeloopError | None = None
        threading.Thread(target=self._accept, name="ssh-forward", daemon=True).start()

    def hopeless(self) -> str:
        """Return why trying again is in vain, or an empty string."""
        last = self._last
        return str(last) if isinstance(last, UnauthenticatedError | AccessDeniedError) else ""

    def close(self) -> None:
        """End every connection and remove the socket."""
        self._closed = True
        with contextlib.suppress(OSError):
            # A blocked accept wakes up by this, not by close.
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in list(self._ends):
            with contextlib.suppress(Exception):
                end.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(here,), name="ssh-forward", daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        try:
            there = self._channel()
        except EdgeloopError as error:
            self._last = error
            here.close()
            return
        self._last = None
        self._ends |= {here, there}
        back = threading.Thread(target=_pass_on, args=(there, here), name="ssh-forward", daemon=True)
        back.start()
        _pass_on(here, there)
        back.join()
        for end in (here, there):
            with contextlib.suppress(Exception):
                end.close()
            self._ends.discard(end)

    def _channel(self) -> Any:
        with self._lock:
            if self._closed:
                raise UnavailableError("the connection is closed.")
            self._connect_again()
            try:
                return self._connection.open_socket(self._remote)
            except UnavailableError:
                if self._connection.alive:
                    raise
            # It had died without a word; one more attempt on a new connection.
            self._connect_again()
            return self._connection.open_socket(self._remote)

    def _connect_again(self) -> None:
        if self._connection.alive:
            return
        if (wait := self._not_before - time.monotonic()) > 0:
            time.sleep(wait)
        self._connection.close()
        try:
            self._connection.open()
        except EdgeloopError:
            self._failures += 1
            longest = min(_BACK_OFF_MAX_S, _BACK_OFF_S * 2**self._failures)
            self._not_before = time.monotonic() + random.SystemRandom().uniform(0, longest)
            raise
        self._failures = 0


def _pass_on(source: Any, sink: Any) -> None:
    """Pass bytes on until the source ends; either side's end ends both."""
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(_PIECE_BYTES):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(Exception):
            end.shutdown(socket.SHUT_RDWR)
