"""What one daemon keeps below the controller's home: its lock, its tokens, and the rollouts that it drives."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import AlreadyExistsError, CorruptDataError
from edgeloop_foundation.locks import is_locked, try_lock
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably

__all__ = ["ServeHome", "Tokens"]

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What callers over HTTP prove themselves with."""

    #: Of somebody who may change things.
    operator: str
    #: Of somebody who may look.
    observer: str
    #: Whether they were made just now.
    new: bool = False


class ServeHome:
    """``serve/`` below the controller's home, mode 0700."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        self._fs = fs or OsFileSystem()
        #: Its place.
        self.directory = home / "serve"

    def _make(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def held(self, where: str) -> Iterator[None]:
        """Be the one daemon of this home; the kernel gives the right back with the process.

        Raises:
            AlreadyExistsError: another one runs.
        """
        self._make()
        # The lock is the kernel's; who holds it is written down for people alone.
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+") as file:
            if not try_lock(descriptor):
                running = file.read(300).strip() or "starting"
                raise AlreadyExistsError(
                    f"another edgeloop serve works on {self.directory.parent} ({running}).",
                    next_step="Use that one, end it first, or name another --home.",
                )
            file.truncate(0)
            file.write(f"process {os.getpid()}, {where}\n")
            file.flush()
            yield

    def answers_at(self) -> str:
        """Return the address of the daemon that runs on this home; empty when none does."""
        lock = self.directory / "lock"
        return lock.read_text().partition(", ")[2].strip() if is_locked(lock) else ""

    def token_path(self, role: str) -> Path:
        """Return the file of a role's token."""
        return self.directory / f"{role}.token"

    def tokens(self) -> Tokens:
        """Return the tokens, made at the first call; remove a file to have its token replaced.

        Raises:
            CorruptDataError: a file can be read by others, or holds no token.
        """
        self._make()
        made = [self._token("operator"), self._token("observer")]
        return Tokens(operator=made[0][0], observer=made[1][0], new=made[0][1])

    def _token(self, role: str) -> tuple[str, bool]:
        path = self.token_path(role)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{secrets.token_urlsafe(_TOKEN_BYTES)}\n")
                file.flush()
                os.fsync(file.fileno())
            return path.read_text().strip(), True
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise CorruptDataError(
                f"{path} can be read by others.",
                next_step="Remove it; a new token is made at the next start.",
            )
        token = path.read_text().strip()
        if len(token) < _TOKEN_BYTES or not token.isascii():
            raise CorruptDataError(f"{path} holds no token.", next_step="Remove it and start again.")
        return token, False

    def driven(self) -> tuple[str, ...]:
        """Return the rollouts that a daemon here was driving when it ended."""
        path = self.directory / "rollouts.json"
        if not self._fs.exists(path):
            return ()
        try:
            return tuple(str(name) for name in json.loads(self._fs.read(path)))
        except (ValueError, TypeError):
            raise CorruptDataError(f"{path} cannot be read.", next_step="Remove it.") from None

    def keep_driven(self, names: Sequence[str]) -> None:
        """Write down which rollouts are driven."""
        self._make()
        write_durably(self._fs, self.directory / "rollouts.json", json.dumps(sorted(names)).encode())
